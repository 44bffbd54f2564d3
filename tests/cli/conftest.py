"""The command line is tested with audits that train for a few steps."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _brief(brief_audits: None) -> None:
    """Before the module's own fixtures, which audit too."""
