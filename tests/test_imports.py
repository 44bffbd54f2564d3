"""The direction of imports: data flows one way, and so do they."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import unlearnkit
from unlearnkit.cli import app

ROOT = Path(unlearnkit.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@cache
def imported(path: Path) -> set[str]:
    """Absolute names of what a file imports, at its top or inside a function."""
    package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found = {f"{source}.{alias.name}" for alias in node.names}
            # `from package import module` takes nothing of the package itself
            names |= found if found <= MODULES.keys() else {source, *found}
    return names


@cache
def imports() -> dict[str, set[str]]:
    """Our own modules that each of them imports."""
    return {name: (imported(path) & MODULES.keys()) - {name} for name, path in MODULES.items()}


def layer(name: str) -> str | None:
    """`unlearnkit.data.images` -> `data`; None for what is not ours and for the package itself."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "unlearnkit" and rest else None


def imports_of(part: str) -> dict[str, set[str]]:
    """Our own layers that each file of a part imports."""
    files = [path for path in FILES if layer(module_name(path)) == part]
    assert files, f"there is no {part}"
    names = [module_name(path) for path in files]
    return {name: {found for other in imports()[name] if (found := layer(other))} for name in names}


ENGINE = {"errors", "class_names", "disk", "request", "config", "network", "split", "runtime", "data", "plugins"}
STEPS = {*ENGINE, "run_dir", "proof", "training", "models", "methods", "tuning", "audit", "report"}
MAY_IMPORT = {  # room -> rooms; what is not in it is forbidden, and a new room needs a line
    "errors": set(),
    "class_names": set(),
    "request": {"errors", "class_names"},
    "config": {"errors"},
    "plugins": {"errors"},
    "network": {"errors"},
    "classic": {"errors", "methods"},  # of the methods the numerics of linear heads, which load no torch of their own
    "disk": {"errors", "class_names"},
    "run_dir": {"errors", "class_names", "disk"},
    "proof": {"errors", "class_names", "disk", "run_dir"},
    "split": {"errors", "request"},
    "runtime": {"errors", "config", "network"},
    "data": ENGINE - {"data"},
    "training": ENGINE,
    "models": ENGINE,
    "methods": {*ENGINE, "training", "models"},
    "tuning": {*ENGINE, "training", "models", "methods"},
    "audit": {*ENGINE, "training", "models"},
    "report": {"errors", "run_dir", "plugins"},
    "steps": STEPS,
    "compare": {*STEPS, "steps"},
    "cli": {*STEPS, "steps", "compare"},
    "__main__": {"cli"},
}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_nothing_imports_what_comes_after_it(room: str) -> None:
    found = {name: layers - MAY_IMPORT[room] - {room} for name, layers in imports_of(room).items()}
    assert not {name: layers for name, layers in found.items() if layers}


def test_every_room_has_its_rule() -> None:
    assert {found for name in MODULES if (found := layer(name))} == set(MAY_IMPORT)


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other: the strongly connected components of more than one."""
    reached = {name: reachable(name, imports) for name in imports}
    circular = [name for name in imports if name in reached[name]]
    groups = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in circular}
    return [list(group) for group in sorted(groups)]


def reachable(start: str, imports: dict[str, set[str]]) -> set[str]:
    """Every module that one imports, directly or through others."""
    found: set[str] = set()
    left = [start]
    while left:
        new = imports[left.pop()] - found
        found |= new
        left += new
    return found


def test_no_module_imports_itself_through_others() -> None:
    assert circles(imports()) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}) == [["a", "b", "c"]]


EVIDENCE = {f"unlearnkit.audit.{name}" for name in ("evidence", "reading", "doubts", "metric")}
METRICS = [name for name in MODULES if name.startswith("unlearnkit.audit.metrics")]


@pytest.mark.parametrize("name", METRICS)
def test_metrics_know_the_evidence_and_nothing_else(name: str) -> None:
    allowed = {*EVIDENCE, *METRICS, "unlearnkit.split", "unlearnkit.errors"}
    assert not imports()[name] - allowed
    # what these import in turn runs no model either
    assert not reachable(name, imports()) - allowed - {"unlearnkit.request", "unlearnkit.class_names"}
    foreign = {each.partition(".")[0] for each in imported(MODULES[name])} - sys.stdlib_module_names
    assert foreign <= {"unlearnkit", "numpy", "scipy", "sklearn", "torch"}


def test_what_observes_knows_no_metric() -> None:
    observing = [name for name in MODULES if name.startswith("unlearnkit.audit.observe")]
    assert len(observing) > 5
    assert not {name: found for name in observing if (found := imports()[name] & {*METRICS})}


def test_the_report_reads_the_run_folder_only() -> None:
    for name, layers in imports_of("report").items():
        assert layers <= {"report", "run_dir", "errors", "plugins"}, name
    allowed = sys.stdlib_module_names | {"jinja2", "markupsafe", "unlearnkit"}
    for path in (ROOT / "report").rglob("*.py"):
        foreign = {name.partition(".")[0] for name in imported(path)} - allowed
        assert not foreign, path


def test_the_command_line_calls_the_steps() -> None:
    files = imports_of("cli")
    calling = {name.rpartition(".")[2] for name, layers in files.items() if layers & {"steps", "compare"}}
    commands = {command.callback.__module__.rpartition(".")[2] for command in app.registered_commands}
    # the list of methods is read from their registry
    assert calling - {"common", "options"} == commands - {"methods"}
    for name, layers in files.items():
        assert not layers & {"audit", "models", "training", "data", "split"}, name
        # the terminal says doubts in the page's English, and takes nothing else of it
        wording = {"unlearnkit.report.sentences", "unlearnkit.report.words"}
        assert {found for found in imports()[name] if layer(found) == "report"} <= wording, name


def test_run_folders_are_written_in_one_place() -> None:
    importers = {module_name(p) for p in FILES if imported(p) & {"unlearnkit.run_dir.write_run"}}
    assert importers
    assert all(layer(name) == "steps" for name in importers)


@pytest.mark.slow
def test_a_fresh_interpreter_loads_nothing_heavy_besides_torch_no_zoo_for_models_and_says_nothing() -> None:
    """The rooms of the package need no import of their own, either; and to import all of a forget prints no word."""
    heavy = (
        *("sklearn", "scipy", "torchvision", "pandas", "matplotlib", "rich", "typer", "jinja2"),
        *("timm", "accelerate", "datasets", "huggingface_hub", "transformers", "optuna"),
    )
    zoos = ("timm", "torchvision", "huggingface_hub")
    script = (
        f"import sys, unlearnkit as uk; print([m for m in {heavy!r} if m in sys.modules])\n"
        "print(uk.models.build_model('small-cnn', num_classes=2, in_channels=1).training)\n"
        "import unlearnkit.models.hub, unlearnkit.models.readme\n"
        f"print([m for m in {zoos!r} if m in sys.modules])\n"
        "import unlearnkit.__main__, unlearnkit.steps.forget"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.splitlines(), done.stderr) == (["[]", "True", "[]"], "")
