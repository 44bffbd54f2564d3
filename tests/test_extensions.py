"""A package from outside adds a method, a metric, a data source, a model and a language, and all of them run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import forked
import unlearnkit
from commands import assert_refused, run_cli
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.data import load_data
from unlearnkit.data.sources.registry import PLUGINS as DATA
from unlearnkit.errors import ConfigError, DataError, ModelError
from unlearnkit.methods.registry import METHODS, PLUGINS, make_method, method_kind
from unlearnkit.models import build_model, list_models
from unlearnkit.report.words import speaking

pytestmark = pytest.mark.xdist_group(forked.GROUP)
SOURCE = Path(unlearnkit.__file__).parents[1]

MODULES = {
    "method.py": '''
        """Toy: shifts the forgotten classes' biases down.

        Idea. A control for tests.

        Cost per run: nothing.
        """

        from pydantic import Field

        from unlearnkit.methods.method import ConfiguredMethod

        class Toy(ConfiguredMethod):
            """Biases of the forgotten classes fall by `by`."""

            by: float = Field(default=100.0, gt=0, description="how far")

            @property
            def needs(self):
                return frozenset()

            def run(self, model, ctx):
                model.head.bias.data[list(ctx.request.forget)] -= self.by
                return model

        class Idle(ConfiguredMethod):
            @property
            def needs(self):
                return frozenset()

        class Plain:
            needs = frozenset()

            def run(self, model, ctx):
                return model

        class Demanding(Toy):
            wish: int

        NUMBER = 3
    ''',
    "metric.py": """
        from unlearnkit.audit import Metric, Reading
        from unlearnkit.audit.metric import Vote

        VOTE = Vote(metric="toy_count", family="outputs", scale="distance", delta=0.1)

        def count(evidence):
            said = {"metric": "toy_count", "value": 7.0, "unit": "images", "target": "match_retrain"}
            return [Reading(**said, model="unlearned", part=None)]

        TOY = Metric(fn=count, readings=("toy_count",), wants=frozenset({"outputs"}), votes=(VOTE,))
    """,
    "source.py": """
        from dataclasses import replace

        from unlearnkit.data.sources.digits import load_digits
        from unlearnkit.data.sources.source import Source

        def load(rest, options):
            return replace(load_digits("", options), source=f"toy-digits:{rest}")

        TOY = Source(load=load, needs="WORD")
    """,
    "model.py": """
        from unlearnkit.models import SmallCNN

        def toy_net(num_classes, in_channels, width=4):
            return SmallCNN(num_classes, in_channels, width=width)
    """,
    "language.py": """
        from unlearnkit.report.words.en import *

        LANG = "en-x-toy"
        REPORT = "Toy report"
    """,
    "broken.py": 'raise RuntimeError("no such library\\nand more")',
}

ENTRY_POINTS = """
    [unlearnkit.methods]
    toy = toy_pkg.method:Toy
    idle = toy_pkg.method:Idle
    unsir = toy_pkg.method:Toy
    broken-method = toy_pkg.broken:Method
    [unlearnkit.metrics]
    toy_count = toy_pkg.metric:TOY
    broken_metric = toy_pkg.broken:METRIC
    [unlearnkit.data]
    toy-digits = toy_pkg.source:TOY
    broken-data = toy_pkg.broken:SOURCE
    no-source = toy_pkg.source:load
    [unlearnkit.models]
    toy-net = toy_pkg.model:toy_net
    broken-net = toy_pkg.broken:net
    no-factory = toy_pkg.method:NUMBER
    [unlearnkit.languages]
    toy = toy_pkg.language
    poor = toy_pkg.model
"""


def install(site: Path, package: str, entry_points: str) -> None:
    """What an installer leaves of a distribution, as far as Python's own metadata reads it."""
    info = site / f"{package}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as `site-packages` holds it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "toy_pkg").mkdir()
    for name, text in {"__init__.py": "", **MODULES}.items():
        (folder / "toy_pkg" / name).write_text(textwrap.dedent(text))
    install(folder, "toy_pkg", ENTRY_POINTS)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(site))


def python(site: Path, script: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds this checkout, and the package."""
    path = os.pathsep.join(str(folder) for folder in (SOURCE, site))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)


def cli(site: Path, *args: object) -> forked.Done:
    """The command line in a process that finds the package where it is given, and has imported nothing of it."""
    return forked.run("unlearnkit", *args, path=[site])


# ---- through the command line, in a process of its own --------------------------------------------------------------


@pytest.fixture(scope="module")
def forgotten(site: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder for which everything came from the package."""
    out = tmp_path_factory.mktemp("toy") / "out"
    done = cli(
        site, "forget", "--weights", weights, "--data", "toy-digits:hello", "--forget", 3, "--method", "toy",
        "--set", "by=50", "--language", "toy", "--device", "cpu", "--quick", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "left out of the audit: Expected to import the metric 'broken_metric' of toy_pkg 1.2" in done.stderr
    return out


@pytest.mark.slow
def test_a_method_and_a_source_of_another_package_run_by_name(forgotten: Path) -> None:
    config = json.loads((forgotten / "config.json").read_text())
    assert (config["method"], config["settings"], config["data"]) == ("toy", {"by": 50.0}, "toy-digits:hello")
    audit = json.loads((forgotten / "audit.json").read_text())
    values = {(r["metric"], r["model"], r["part"]): r["value"] for r in audit["readings"]}
    assert values["accuracy", "unlearned", "forget_test"] == 0
    assert values["toy_count", "unlearned", None] == 7
    assert audit["votes"] == [vote.key for vote in PRIMARY]
    assert "toy_count" not in audit["votes"]  # on the command line a verdict rests on what is built in


@pytest.mark.slow
def test_the_report_is_written_in_a_language_of_another_package(forgotten: Path) -> None:
    page = (forgotten / "report.html").read_text(encoding="utf-8")
    assert 'lang="en-x-toy"' in page
    assert "Toy report" in page
    assert "Toy count" in page  # a metric that no language knows is named after itself


@pytest.mark.slow
def test_the_run_folder_is_audited_again_and_without_the_package_says_what_is_missing(
    site: Path, forgotten: Path
) -> None:
    audit = ("audit", forgotten, "--quick", "--device", "cpu")
    assert_refused(run_cli(*audit), "Expected --data", "add --data toy-digits:hello")  # nothing is imported for a file
    assert cli(site, *audit, "--quiet", "--data", "toy-digits:hello").returncode == 0
    assert_refused(run_cli(*audit, "--data", "toy-digits:hello"), "Expected a data source", "'toy-digits:")


@pytest.mark.slow
def test_a_model_of_another_package_trains_and_its_class_runs_by_path_without_entry_points(
    site: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "toy_pkg").symlink_to(site / "toy_pkg")  # no metadata beside it
    trained = cli(
        site, "train", "--model", "toy-net,width=5", "--data", "digits", "--epochs", 1, "--device", "cpu",
        "--out", tmp_path / "trained", "--quiet",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    rest = ("--data", "digits", "--forget", 3, "--device", "cpu", "--no-audit")
    given = ("--weights", tmp_path / "trained" / "model.safetensors", *rest)
    model, method = ("--model", "small-cnn,width=5"), ("--method", "toy_pkg.method:Toy")
    done = cli(bare, "forget", *given, *model, *method, "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "config.json").read_text())["method"] == "toy_pkg.method:Toy"
    assert_refused(run_cli("forget", *given, "--method", "original", "--out", tmp_path / "lost"), "'toy-net'")


@pytest.mark.slow
def test_the_lists_name_what_is_added_and_what_is_broken(site: Path) -> None:
    listed = cli(site, "methods")
    assert listed.returncode == 0, listed.stderr
    assert "toy: Toy: shifts the forgotten classes' biases down." in listed.stdout
    assert "unsir: UNSIR" in listed.stdout
    sentences = listed.stderr.splitlines()
    assert len(sentences) == 3
    assert "broken-method" in sentences[0]
    assert "RuntimeError: no such library" in sentences[0]
    assert "Idle has no run" in sentences[1]
    assert "'unsir' for the method of toy_pkg 1.2" in sentences[2]
    models = cli(site, "models", "*-net")
    assert "toy-net" in models.stdout.splitlines()
    assert "broken-net" in models.stderr
    assert "toy_pkg.method:NUMBER of toy_pkg 1.2, but got int" in models.stderr


@pytest.mark.slow
def test_nothing_of_another_package_is_imported_before_it_is_asked_for_and_all_of_it_may_be_before_unlearnkit(
    site: Path,
) -> None:
    """Neither process has imported anything of unlearnkit; what both spend most of their time on is imported once."""
    modules = ", ".join(f"toy_pkg.{name.removesuffix('.py')}" for name in MODULES if name != "broken.py")
    script = (
        "import os, sys, torch\n"
        "first = os.fork()\n"
        f"if not first:\n    import {modules}\n    sys.exit()\n"
        "import unlearnkit\nfrom unlearnkit.cli import app\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert CliRunner().invoke(app, ['forget', '--help']).exit_code == 0\n"
        "unlearnkit.load_data('digits')\nunlearnkit.models.build_model('small-cnn', num_classes=2, in_channels=1)\n"
        "print([name for name in sys.modules if name.startswith('toy_pkg')])\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))"
    )
    done = python(site, script)
    assert (done.stdout, done.returncode) == ("[]\n0\n", 0), done.stderr


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_package:Toy", "cannot be imported .ModuleNotFoundError: No module named 'no_such_package'"),
        ("toy_pkg.method:Toi", "cannot be imported .AttributeError: .*'Toi'"),
        ("toy_pkg.broken:Toy", "cannot be imported .RuntimeError: no such library."),
        (":Toy", "cannot be imported"),
        ("toy_pkg.method:NUMBER", "got int; name the class itself"),
        ("toy_pkg.method:Field", "got function; name the class itself"),
        ("pathlib:Path", "Path has no needs and no run"),
        ("toy_pkg.method:Idle", "Idle has no run"),
        ("toy_pkg.method:Plain", "Plain is none, though it has needs and run; from Python, unlearn.. takes any object"),
        ("toy_pkg.method:Demanding", "Demanding cannot be built without settings .*'wish'"),
        ("unlearnkit.methods.method:ConfiguredMethod", "ConfiguredMethod has no needs and no run"),
        ("broken-method", "import the method 'broken-method' of toy_pkg 1.2, but .* .RuntimeError: no such library."),
        ("idle", "Expected a subclass .* at toy_pkg.method:Idle of toy_pkg 1.2, but Idle has no run"),
        ("toi", "Expected one of the methods auto, .*, idle, toy, but got 'toi'"),
    ],
)
def test_a_method_that_cannot_be_used_says_why_in_one_sentence(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        make_method(name)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("installed")
def test_a_built_in_name_wins_and_two_packages_cannot_share_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert method_kind("unsir") is METHODS["unsir"]
    with pytest.raises(ConfigError, match=r"another name than 'unsir' for the method of toy_pkg 1\.2"):
        PLUGINS.load("unsir")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert method_kind("toy").__name__ == "Toy"
    install(tmp_path, "rival", "[unlearnkit.methods]\ntoy = rival:Toy\n")  # into a folder that was looked through
    with pytest.raises(ConfigError, match=r"one package .* 'toy', but rival 1\.2 and toy_pkg 1\.2 both do"):
        method_kind("toy")
    assert method_kind("unsir") is METHODS["unsir"]


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_sources_models_and_languages_that_cannot_be_used_say_why() -> None:
    assert load_data("toy-digits:x").source == "toy-digits:x"
    with pytest.raises(DataError, match="Expected toy-digits:WORD"):
        load_data("toy-digits")
    with pytest.raises(DataError, match="import the data source 'broken-data'"):
        load_data("broken-data:x")
    with pytest.raises(DataError, match=r"a data source at toy_pkg\.source:load of toy_pkg 1\.2, but got function"):
        load_data("no-source")
    with pytest.raises(DataError, match="none is installed"):
        DATA.load("absent")
    assert "toy-net" in list_models("toy")
    with pytest.raises(ModelError, match="import the model 'broken-net'"):
        build_model("broken-net", num_classes=2, in_channels=1)
    with pytest.raises(ModelError, match=r"a factory at toy_pkg\.method:NUMBER of toy_pkg 1\.2, but got int"):
        build_model("no-factory", num_classes=2, in_channels=1)
    with pytest.raises(ModelError, match="toy-net to take num_classes=, in_channels=, depth=, but it failed"):
        build_model("toy-net,depth=3", num_classes=2, in_channels=1)
    with pytest.raises(ConfigError, match=r"every string .* toy_pkg.model .*LANG, UNKNOWN.* missing"):
        speaking("poor")
