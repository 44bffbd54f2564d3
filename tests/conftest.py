"""Fixtures that several test files share: trained digits weights, and small parquet folders."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Test processes side by side share the cores; torch and the programs that tests start read this when they start.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    threads = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))

import pytest

# Ten times Python's own: to import and collect everything makes objects that stay, and most that a test makes are freed
# without the collector.
gc.set_threshold(7000, 10, 10)

# Fixtures import what they need: pytest-xdist reads this file before it starts the processes that run tests.
if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from digits_controls import Judge
    from report_folders import Make

WEIGHTS = "model.safetensors"
MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, the dear tests come first and the quick ones of a file stay together.

    Neither process ends long before the other then, and what a file makes for its quick tests is made once. For each
    unit that it hands out, pytest-xdist also waits for an answer, which costs more than most of the quick tests do.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        if not item.get_closest_marker("slow") and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    dear = {_unit(item) for item in items if item.get_closest_marker("slow") or item.get_closest_marker("browser")}
    items.sort(key=lambda item: _unit(item) not in dear)


def _unit(item: pytest.Item) -> str:
    """What one process gets as a whole."""
    group = item.get_closest_marker("xdist_group")
    return str(group.args[0]) if group else item.nodeid


def pytest_collection_finish() -> None:
    """Spare the garbage collector the hundreds of thousands of objects that were imported and collected: they stay."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What is written is there for every process at once; only a loss of power, which no test has, asks for more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Maker of a folder that one test process makes, and that those beside it wait for; nobody may change it."""
    from filelock import FileLock

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder of its own in that of the run
        shared = shared.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, complete = shared / "made once" / name, shared / "made once" / f"{name}.complete"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a failure left
                make(folder)
                complete.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def digits_run(made_once: MadeOnce) -> Path:
    """Run folder of a small CNN trained on digits."""
    from trained_once import trained_on_digits

    return made_once("original", trained_on_digits)


@pytest.fixture(scope="session")
def narrow_run(made_once: MadeOnce) -> Path:
    """Run folder of a quarter of that CNN, which knows most digits: for tests to which its figures do not matter."""
    from trained_once import NARROW, trained_on_digits

    return made_once("narrow original", lambda out: trained_on_digits(out, model=NARROW))


@pytest.fixture(scope="session")
def narrow_retrained(made_once: MadeOnce) -> Path:
    """Run folder of the same, retrained without class 3."""
    from trained_once import NARROW, trained_on_digits

    return made_once("narrow retrained", lambda out: trained_on_digits(out, "3", model=NARROW))


@pytest.fixture(scope="session")
def digits_judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    """Audits against three models retrained without the odd digits; test files that ask for it share an xdist group."""
    from digits_controls import Judge, train_digits  # most test files need no audit

    return Judge(train_digits(tmp_path_factory.mktemp("controls")))


@pytest.fixture(scope="session")
def site(made_once: MadeOnce) -> Path:
    """The documentation site as `make docs` builds it; `make test` has just built it, and says where."""
    if "UNLEARNKIT_SITE" in os.environ:
        return Path(os.environ["UNLEARNKIT_SITE"])
    if importlib.util.find_spec("mkdocs") is None:
        said = "Expected mkdocs, but it is not installed; do `pip install --group docs`."
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(said)

    def build(out: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
            cwd=Path(__file__).parents[1],
            env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return made_once("site", build)


@pytest.fixture
def parquet_folder(tmp_path: Path) -> Callable[..., Path]:
    """Maker of a folder with coloured 12x12 squares that a small CNN learns at once: one colour per class."""
    import numpy as np

    from pictures_on_disk import png, write_parquet

    def make(names: Sequence[str] = ("red", "green", "blue", "grey"), per_class: int = 40, size: int = 12) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        rng = np.random.default_rng(0)
        colours = np.array(
            [[200, 30, 30], [30, 200, 30], [30, 30, 200], [120, 120, 120], [220, 220, 40], [40, 220, 220]]
        )
        for side, count in (("train", per_class), ("test", max(2, per_class // 4))):
            labels = np.arange(len(names)).repeat(count)
            rng.shuffle(labels)
            pixels = colours[labels][:, None, None, :] + rng.integers(-30, 30, (len(labels), size, size, 3))
            images = [png(p) for p in pixels.clip(0, 255).astype(np.uint8)]
            write_parquet(folder / f"{side}.parquet", images, labels.tolist(), names)
        return folder

    return make


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Maker of a run folder, as `write_folder` writes it."""
    from report_folders import write_folder

    def made(classes: list[str] | None = None, **changed: dict[str, Any] | None) -> Path:
        return write_folder(tmp_path / "run", classes, **changed)

    return made


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium as the system has it. Its driver keeps an event loop in this thread, so it ends with the module."""
    assert request.node.get_closest_marker("browser"), "mark the module: pytestmark = pytest.mark.browser"
    from playwright.sync_api import sync_playwright  # most test files need no browser

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        said = "Expected Chromium on the PATH to open the report in, but there is none; do `apt-get install chromium`."
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(said)
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, timeout=120_000)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report's pages that the browser opens, by name."""
    from visit import write_pages  # most test files need no browser

    return write_pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def go(browser: Browser, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Visit a page by its name or path; what was opened is closed after the test."""
    from visit import visit

    yield lambda page, **more: visit(browser, pages.get(page, page), **more)
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="session")
def weights(narrow_run: Path) -> Path:
    return narrow_run / WEIGHTS


@pytest.fixture(scope="module")
def brief_audits() -> Iterator[None]:
    """For a module in which no figure of an audit matters."""
    from brief import shorten

    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        yield


@pytest.fixture(scope="session")
def audited(narrow_run: Path, narrow_retrained: Path, made_once: MadeOnce) -> Path:
    """Run folder of a forget with its (brief) audit; tests that change it take a copy."""
    from brief import shorten
    from commands import Outcome, forget

    def make(out: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            shorten(patch)
            done = forget(
                "--forget", "3", "--retrained", narrow_retrained / WEIGHTS, "--quiet",
                weights=narrow_run / WEIGHTS, out=out,
            )  # fmt: skip
        assert done == Outcome(0, "", "")

    return made_once("unlearned", make)


@pytest.fixture
def copied(audited: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audited, tmp_path / "copy"))


@pytest.fixture(scope="session")
def without_3(narrow_run: Path, made_once: MadeOnce) -> Path:
    from commands import forget

    def make(out: Path) -> None:
        assert forget("--forget", 3, "--no-audit", "--quiet", weights=narrow_run / WEIGHTS, out=out).code == 0

    return made_once("without 3", make) / WEIGHTS
