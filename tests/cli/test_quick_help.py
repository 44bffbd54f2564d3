"""Tests that the command line shows its help without waiting for torch, and that lazy names are the true ones."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unlearnkit
from unlearnkit.cli.options import DATA_HELP
from unlearnkit.data.sources.registry import SOURCES

HEAVY = {"torch", "torchvision", "numpy", "scipy", "sklearn", "timm", "pydantic", "PIL"}


def test_the_commands_are_there_before_anything_heavy_is_imported():
    """The 0.3 seconds of `--help` are shown by benchmarks/speed.py; this holds what they come from."""
    script = "import sys, unlearnkit.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_the_help_of_data_names_every_source_as_it_is_written():
    forms = [f"{name}:{source.needs}" if source.needs else name for name, source in SOURCES.items()]
    assert DATA_HELP.startswith(", ".join(forms) + ", or ")


def test_every_public_name_is_imported_from_where_the_types_say():
    tree = ast.parse(Path(unlearnkit.__file__).read_text(encoding="utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If)).body
    homes = {alias.name: node.module for node in typed if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(homes) == sorted(unlearnkit.__all__)
    for name, home in homes.items():
        assert getattr(unlearnkit, name) is getattr(sys.modules[home], name)
    assert set(homes) <= set(dir(unlearnkit))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'UNSlR'"):
        unlearnkit.UNSlR  # noqa: B018 - the access is what fails
