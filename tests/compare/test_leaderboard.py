"""The page of a suite in a real browser: offline, sorted, filtered, with a link to every report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from suites import made_group, made_results, made_row
from unlearnkit.compare.results import draw

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser: leaderboard")]
DOUBT = {"code": "directions_doubtful", "values": {"cosine": 0.5, "least": 0.65}}
BEFORE_IT_RUNS = ("cell", "method", "variant", "training_seed", "seed", "control", "needs")
HOSTILE = '"><img src=x onerror=alert(3)><script>alert(4)</script>'


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board") / "suites" / "tiny"
    rows = [made_row("unsir", 2.5), made_row("erase", 0.5), made_row("finetune", 11.0)]
    failed = {**made_row("ssd", 1.0), "failure": HOSTILE}
    hostile = made_group([made_row("scrub", 7.0, variant=HOSTILE)], data=HOSTILE, model=HOSTILE, forget=[HOSTILE])
    for row in (*rows, *hostile["rows"]):
        report = folder.parents[1] / row["run"] / "report.html"
        report.parent.mkdir(parents=True)
        report.touch()
    draw(made_results(made_group([*rows, failed]), hostile, title=HOSTILE, metrics=["weight_distance"]), folder)
    return folder / "index.html"


def test_it_sorts_filters_and_leads_to_every_report(go: Any, board: Path) -> None:
    here = go(board)
    page = here.page
    methods = page.locator("#runs tbody tr:visible th")
    assert methods.all_inner_texts() == ["erase", "unsir", "finetune", "scrub"]
    page.get_by_role("button", name="Worst gap").click()
    assert methods.all_inner_texts() == ["erase", "unsir", "scrub", "finetune"]
    page.get_by_role("button", name="Worst gap").click()
    assert methods.all_inner_texts() == ["finetune", "scrub", "unsir", "erase"]
    page.get_by_label("Show rows with").fill("resnet18 unsir")
    assert methods.all_inner_texts() == ["unsir"]
    assert page.locator("#runs output").inner_text() == "1 of 4 shown"
    links = page.locator("#runs a").evaluate_all("all => all.map(each => each.getAttribute('href'))")
    assert sorted(links)[0] == "../../cells/erase-0123456789ab/report.html"
    assert len(links) == 4
    assert page.locator("img.trade-off").count() == 2
    assert page.locator("img.trade-off").first.evaluate("each => each.naturalWidth") > 0
    assert "not measured" in page.locator("table").nth(1).inner_text()  # the reported rows of this setting
    assert here.said == []
    assert here.asked == [board.as_uri()]
    assert page.title() == HOSTILE
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_it_is_a_plain_table_without_scripts_and_dark_where_the_screen_is(go: Any, board: Path) -> None:
    here = go(board, scripts=False, scheme="dark", width=400)
    assert here.page.locator("#runs tbody tr").count() == 4
    assert here.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_warning_of_the_method_is_shown_where_the_audit_has_not_decided(tmp_path: Path) -> None:
    def page(*rows: dict[str, Any]) -> str:
        draw(made_results(made_group(list(rows))), tmp_path)
        return (tmp_path / "index.html").read_text()

    warned, doubted = "Warned of, and not decided", made_row("erase", 0.5, doubt=DOUBT)
    assert warned not in page(doubted, made_row("unsir", 2.0, doubt=DOUBT), made_row("finetune", 2.0, doubt=None))
    open_ = {**doubted, "verdict": {**doubted["verdict"], "status": "unknown"}}
    shown = page(open_, made_row("unsir", 2.0, doubt=DOUBT))
    assert warned in shown
    (told,) = [line for line in shown.splitlines() if "estimates how the forgotten class looks" in line]
    assert ", erase, seeds 0/0: " in told
    assert "unsir" not in told
    failed = {key: made_row("erase", 0.5)[key] for key in BEFORE_IT_RUNS}
    assert warned not in page({**failed, "failure": "Expected more memory."}, made_row("unsir", 2.0))
