"""benchmarks/classic_deletion.py: every estimator is timed both ways, and the page shows the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import classic_deletion

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_all_of_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results.json"
    monkeypatch.setattr("sys.argv", ["classic_deletion.py", "--smoke", "--out", str(out)])
    classic_deletion.main()
    report = json.loads(out.read_text())
    assert {row["model"] for row in report["results"]} == classic_deletion.MODELS.keys()
    assert {row["forgotten"] for row in report["results"]} == {1, 10}
    assert all(len(row["fit"]) == len(row["unlearn"]) == 1 for row in report["results"])
    assert capsys.readouterr().out.count("\n| breast cancer |") == len(classic_deletion.MODELS)


@pytest.mark.slow
def test_the_page_has_the_table_of_the_committed_results_and_a_program_that_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (ROOT / "docs" / "classic.md").read_text()
    report = json.loads((ROOT / "benchmarks" / "results" / "classic_deletion.json").read_text())
    assert "\n".join(classic_deletion.markdown(report["results"])) in text
    (program,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    exec(compile(program, "classic.md", "exec"), {})
    assert capsys.readouterr().out == re.findall(r"  # (.*)$", program)[0] + "\n"
