"""The comparison of all methods, on digits: rows, table, picture, what is kept from run to run, and failures."""

from __future__ import annotations

import itertools
import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import compare_methods as grid
import comparison_runs
import unlearnkit.audit.observe.attacking as attacks_module
from brief import shorten
from canonical import CPU
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.compare.groups import SHOWN
from unlearnkit.errors import ConfigError
from unlearnkit.methods import UNSIR, ConfiguredMethod
from unlearnkit.methods.registry import METHODS
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

pytestmark = pytest.mark.xdist_group("compare")  # one process makes the comparison
FORGET = ("3", "8")
ONLY = ("original", "finetune", "ssd")
RECIPE = ("epochs=2", "batch_size=64")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Results of a small comparison, and the arguments that made them."""
    folder = tmp_path_factory.mktemp("compare")
    for seed, name in enumerate(("original", "retrained-0", "retrained-1", "retrained-2")):
        spec = TrainSpec(model="small-cnn,width=8", data="digits", exclude=FORGET if seed else (), settings=RECIPE)
        train_run(spec, Output(folder / "models" / name), seed=seed, runtime=CPU)
    arguments = ["--data", "digits", "--models", str(folder / "models"), "--work", str(folder / "work")]
    arguments += [
        *repeated("--forget", *FORGET),
        "--seeds",
        "1",
        "--trials",
        "2",
        "--set",
        "retain_per_class=20",
        "--primary",
    ]
    arguments += [*repeated("--variant", "default", "tuned", "paper"), *repeated("--method", *ONLY)]
    arguments += ["--out", str(folder / "all.json")]
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)  # the audit has tests of its own
        run(arguments)
    return folder / "all.json", arguments


def run(arguments: list[str]) -> None:
    grid.main(arguments)


def repeated(option: str, *values: str) -> list[str]:
    return [word for value in values for word in (option, value)]


def but(arguments: list[str], *, methods: list[str], variants: list[str] | None = None) -> list[str]:
    """The arguments with other methods, and other variants where they are given."""
    given = {"--method": methods} | ({} if variants is None else {"--variant": variants})
    pairs = itertools.pairwise(["", *arguments])
    kept = [word for before, word in pairs if before not in given and word not in given]
    return [*kept, *(word for option, values in given.items() for word in repeated(option, *values))]


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.mark.slow
def test_every_method_and_variant_is_a_row(made: tuple[Path, list[str]]) -> None:
    result = load(made[0])
    found = [(row["method"], row["variant"], row["seed"]) for row in result["rows"]]
    all_three = ("default", "tuned", "paper")
    assert found == [("original", "default", 0), *((name, kind, 0) for name in ONLY[1:] for kind in all_three)]
    assert set(result["tuning"]) == {"finetune", "ssd"}
    assert not any("data" in each["key"] for each in (*result["rows"], *result["tuning"].values()))  # can be a path
    assert all(len(search["scores"]) == 2 for search in result["tuning"].values())
    assert [result["tuning"][name]["forget_samples_read"] > 0 for name in ("finetune", "ssd")] == [False, True]


@pytest.mark.slow
def test_the_number_of_retrained_models_is_an_option(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    opened = comparison_runs.Bench.opened("digits", made[0].parent / "models", tmp_path, [*FORGET], retrained=2)
    assert [checkpoint.path.parent.name for checkpoint in opened.checkpoints] == [
        "original",
        "retrained-0",
        "retrained-1",
    ]
    with pytest.raises(ConfigError, match="three retrained models or more"):
        run([*made[1], "--retrained", "2"])


@pytest.mark.slow
def test_retrain_is_not_held_against_itself(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    """The retrained models have the seeds 1 to 3: with two seeds, the second run would be the first of them."""
    both = [*but(made[1], methods=["retrain"]), "--seeds", "2", "--out", str(tmp_path / "none.json")]
    with pytest.raises(ConfigError, match="got seed 1: Retrain would be compared with itself"):
        run(both)
    assert not (tmp_path / "none.json").exists()


@pytest.mark.slow
def test_rows_hold_the_readings_the_cost_and_the_reads(made: tuple[Path, list[str]]) -> None:
    result = load(made[0])
    done = [row for row in result["rows"] if not row["failure"]]
    for row in done:
        assert set(row["primary"]) == {primary.key for primary in PRIMARY}
        gaps = [each["gap"] for each in row["primary"].values() if each["status"] != "unknown"]
        assert row["verdict"]["worst_gap"] == max(gaps)
        assert all(len(each["retrained"]) == 3 for each in row["primary"].values())
        assert not any(count for part, count in row["read"].items() if part.endswith("test"))
        assert row["forget_samples_read"] == (result["forget_samples"] if row["method"] == "ssd" else 0)
    by_name = {(row["method"], row["variant"]): row for row in done}
    original = by_name["original", "default"]
    assert original["control"]
    assert original["cost"]["samples_forward"] == 0
    accuracy = original["primary"]["accuracy/retain_test"]
    assert accuracy["value"] == accuracy["original"]
    tuned = by_name["finetune", "default"]
    assert tuned["read"]["retain_train"] == 8 * 20
    once = METHODS["finetune"]().model_dump()["recipe"]["epochs"] * 8 * 20
    assert tuned["cost"]["samples_backward"] >= once + 8 * 20  # and a trial of the rate, on all of them


@pytest.mark.slow
def test_a_method_that_cannot_run_is_a_row_with_its_reason(made: tuple[Path, list[str]]) -> None:
    failed = [row for row in load(made[0])["rows"] if row["failure"]]
    assert {(row["method"], row["variant"]) for row in failed} == {("ssd", "paper")}
    assert failed[0]["failure"].startswith("Expected alpha below")
    page = made[0].with_suffix(".md").read_text()
    assert f"- `ssd`, paper: {failed[0]['failure']}" in page
    assert page.count("Expected alpha below") == 1


@pytest.mark.slow
def test_table_and_picture_are_written_and_redrawn(made: tuple[Path, list[str]], tmp_path: Path) -> None:
    page, drawn = (made[0].with_suffix(suffix).read_text() for suffix in (".md", ".svg"))
    assert page.splitlines()[2].startswith("| 3 retrained models |")
    assert "| `original` (control) | default | no |" in page
    assert f"| `ssd` | default | {load(made[0])['forget_samples']} |" in page
    assert "| `finetune` | tuned | no |" in page
    labels = [each.text for each in ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert all(name in labels for name in ONLY)
    copy = tmp_path / "copy.json"
    copy.write_text(made[0].read_text())
    run(["--redraw", "--out", str(copy)])
    assert copy.with_suffix(".md").read_text() == page
    assert copy.with_suffix(".svg").read_text() == drawn


@pytest.mark.slow
def test_a_second_run_computes_nothing(made: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    before = load(made[0])
    for name in ("unlearn", "tune", "gather", "audit"):
        monkeypatch.setattr(comparison_runs, name, never)
    run(made[1])
    assert load(made[0]) == before
    with pytest.raises(AssertionError, match="computed again"):
        run([word.replace("=20", "=21") for word in but(made[1], methods=["finetune"])])


@pytest.mark.slow
def test_an_audit_is_made_again_without_the_unlearning(
    made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("unlearned again")

    shorten(monkeypatch)
    work = tmp_path / "work"
    shutil.copytree(made[0].parent / "work", work)
    for row in work.glob("*.json"):
        if not row.name.startswith("tune-") and load(row)["failure"] is None:
            row.unlink()
    monkeypatch.setattr(comparison_runs, "unlearn", never)
    out = tmp_path / "again.json"
    run([*made[1], "--work", str(work), "--out", str(out)])
    assert load(out) == load(made[0])
    others = tmp_path / "models"  # the same retrained models in another order
    for theirs, name in ((0, 2), (1, 1), (2, 0)):
        shutil.copytree(made[0].parent / "models" / f"retrained-{theirs}", others / f"retrained-{name}")
    shutil.copytree(made[0].parent / "models" / "original", others / "original")
    arguments = ["--models", str(others)]
    monkeypatch.setattr(comparison_runs, "tune", never)  # no judge is asked while tuning
    fewer = but(made[1], methods=["finetune"], variants=["default", "tuned"])
    run([*fewer, "--work", str(work), "--out", str(out), *arguments])
    before, after = (next(row for row in load(path)["rows"] if row["method"] == "finetune") for path in (made[0], out))
    accuracies = [row["primary"]["accuracy/retain_test"]["retrained"] for row in (before, after)]
    assert accuracies[0][0] != accuracies[0][2]
    assert accuracies[0] == accuracies[1][::-1]


@pytest.mark.slow
def test_a_full_audit_of_kept_weights_has_the_same_primary_readings_and_shows_the_others(
    made: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    monkeypatch.setattr(attacks_module, "SHOTS", (1,))
    monkeypatch.setattr(comparison_runs, "unlearn", lambda *_, **__: pytest.fail("unlearned again"))
    work = tmp_path / "work"
    shutil.copytree(made[0].parent / "work", work)
    whole = [word for word in made[1] if word != "--primary"]
    whole += ["--work", str(work), "--out", str(tmp_path / "all.json")]
    run(but(whole, methods=["original", "finetune"], variants=["default"]))
    original, finetuned = load(tmp_path / "all.json")["rows"]
    for row, part in zip((original, finetuned), load(made[0])["rows"], strict=False):
        assert [row[key] for key in ("primary", "verdict")] == [part[key] for key in ("primary", "verdict")]
    shown = original["shown"]
    assert set(shown) >= set(SHOWN)
    assert not {*shown} & {*original["primary"]}
    of_itself = ["linear_idi/forget_test", "weight_distance"]  # by definition nothing for the original
    assert [key for key in SHOWN if shown[key]["original"] is None] == of_itself
    assert all(shown[key]["value"] == shown[key]["original"] for key in SHOWN if key not in of_itself)
    assert all(len(shown[key]["retrained"]) == 3 for key in SHOWN)
    page = (tmp_path / "all.md").read_text()
    (line,) = [
        line for line in page.splitlines() if line.startswith("| `finetune`") and line.count("|") == len(SHOWN) + 3
    ]
    shots = finetuned["shown"]["few_shot_recovery/forget_test"]["value"]
    cell = line.split("|")[3:-1][list(SHOWN).index("few_shot_recovery/forget_test")].strip()
    assert cell == f"{shots:.2f}\\*"  # of a small sample
    assert "few shots (small sample)" in page
    assert "without a vote" not in made[0].with_suffix(".md").read_text()


def test_all_methods_are_compared_unsir_also_without_noise_and_tuned_without_its_search() -> None:
    recipe = {"epochs": 7, "batch_size": 50, "lr": 0.3}
    methods = grid.candidates(recipe)
    assert set(methods) == {*METHODS, "unsir-no-noise"}
    assert methods["unsir-no-noise"] == UNSIR(noise=None)
    assert {key: methods["retrain"].model_dump()[key] for key in recipe} == recipe
    assert grid.searched(methods["unsir"]) == UNSIR(search=None)
    assert grid.searched(methods["ssd"]) == methods["ssd"]


def test_what_is_set_stays_while_the_rest_is_tuned() -> None:
    asked: dict[str, list[str]] = {}

    def tuned(name: str, method: ConfiguredMethod, trials: int, fixed: list[str]) -> dict[str, Any]:
        asked[name] = fixed
        return {"failure": None, "chosen": ["recipe.lr=0.3"]}

    ran: Any = SimpleNamespace(tuned=tuned, run=lambda name, method, seed: {"used": method.model_dump()})
    given = ["recipe.epochs=3", "retain_per_class=20", "dampening=0.5"]
    method = METHODS["finetune"]().with_settings(given[:2])
    made = grid.one(ran, "finetune", method, "tuned", 0, 2, {}, given)
    assert asked == {"finetune": ["recipe.epochs", "retain_per_class"]}
    assert made is not None
    assert (made["used"]["recipe"]["epochs"], made["used"]["recipe"]["lr"], made["used"]["retain_per_class"]) == (
        3,
        0.3,
        20,
    )


def test_a_setting_reaches_the_methods_that_have_it() -> None:
    recipe = {"epochs": 7, "batch_size": 50, "lr": 0.3}
    methods = grid.candidates(recipe)
    fewer = grid.candidates(recipe, ["retain_per_class=20"])
    given = {name for name, method in fewer.items() if method.model_dump().get("retain_per_class") == 20}
    assert given == {name for name, method in methods.items() if "retain_per_class" in method.setting_names()}
    assert {name for name in methods if fewer[name] != methods[name]} == given
    with pytest.raises(ConfigError, match="but none has 'epochs'"):
        grid.candidates(recipe, ["epochs=2"])


def test_missing_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected --models, --forget"):
        run(["--data", "digits", "--work", "somewhere", "--out", "some.json"])
    with pytest.raises(ConfigError, match="got 'ssdd'"):
        run(
            ["--data", "digits", "--models", "a", "--work", "b", "--forget", "1", "--method", "ssdd", "--out", "c.json"]
        )
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(ConfigError, match="holds something else"):
        run(["--redraw", "--out", str(other)])


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"key": 1, "key": 2}', "\\ud800"])
def test_a_damaged_run_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "unsir.json").write_text(text)
    with pytest.raises(ConfigError, match=r"unsir\.json, but it is damaged .*take the file away"):
        comparison_runs._kept(tmp_path / "unsir.json", "key", "failure")
