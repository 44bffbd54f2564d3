"""The direction of imports: data flows one way, and so do they."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unlearnkit
from unlearnkit.cli import app

ROOT = Path(unlearnkit.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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
            names |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    return names


def layer(name: str) -> str | None:
    """`unlearnkit.data.images` -> `data`; None for what is not ours and for the package itself."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "unlearnkit" and rest else None


def imports_of(part: str) -> dict[str, set[str]]:
    """Our own layers that each file of a part imports."""
    files = [path for path in FILES if layer(module_name(path)) == part]
    assert files, f"there is no {part}"
    return {module_name(path): {found for name in imported(path) if (found := layer(name))} for path in files}


ABOVE = ("methods", "tuning", "audit", "report", "steps", "cli", "show", "progress")


@pytest.mark.parametrize(
    ("part", "forbidden"),
    [
        ("errors", {"request", "split", "config", "run_dir", "data", "models", "training", *ABOVE}),
        ("request", {"split", "data", "models", "training", "run_dir", *ABOVE}),
        ("split", {"data", "models", "training", "run_dir", *ABOVE}),
        ("config", {"data", "models", "training", "run_dir", *ABOVE}),
        ("run_dir", {"data", "models", "training", "request", "split", "config", *ABOVE}),
        ("data", {"models", "training", "run_dir", *ABOVE}),
        ("training", {"models", "run_dir", *ABOVE}),
        ("models", {"run_dir", *ABOVE}),
        ("methods", {"tuning", "audit", "report", "steps", "run_dir", "cli", "show"}),
        ("tuning", {"audit", "report", "steps", "run_dir", "cli", "show"}),
        ("audit", {"methods", "tuning", "report", "steps", "run_dir", "cli", "show"}),
        ("steps", {"cli", "show"}),
    ],
)
def test_nothing_imports_what_comes_after_it(part: str, forbidden: set[str]) -> None:
    found = {name: layers & forbidden for name, layers in imports_of(part).items()}
    assert not {name: layers for name, layers in found.items() if layers}


def test_the_report_reads_the_run_folder_only() -> None:
    for name, layers in imports_of("report").items():
        assert layers <= {"report", "run_dir", "errors", "plugins"}, name
    allowed = sys.stdlib_module_names | {"jinja2", "markupsafe", "unlearnkit"}
    for path in (ROOT / "report").rglob("*.py"):
        foreign = {name.partition(".")[0] for name in imported(path)} - allowed
        assert not foreign, path


def test_the_command_line_calls_the_steps() -> None:
    files = imports_of("cli")
    calling = {name.rpartition(".")[2] for name, layers in files.items() if "steps" in layers}
    commands = {command.callback.__module__.rpartition(".")[2] for command in app.registered_commands}
    assert calling - {"common", "options"} == commands - {"methods"}  # the list of methods is read from their registry
    for name, layers in files.items():
        assert not layers & {"audit", "report", "models", "training", "data", "split"}, name


def test_run_folders_are_written_in_one_place() -> None:
    importers = {module_name(p) for p in FILES if imported(p) & {"unlearnkit.run_dir.write_run"}}
    assert importers
    assert all(layer(name) == "steps" for name in importers)


def test_the_package_alone_loads_nothing_heavy_besides_torch() -> None:
    heavy = (
        *("sklearn", "scipy", "torchvision", "pandas", "matplotlib", "rich", "typer", "jinja2"),
        *("timm", "accelerate", "datasets", "huggingface_hub", "transformers", "optuna"),
    )
    script = f"import sys, unlearnkit; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
