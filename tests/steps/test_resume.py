"""Interrupted trainings: killed wherever it may be, `--resume` ends with the weights of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import unlearnkit.steps.checkpoints as checkpoints
from commands import assert_refused, run_cli
from trained_once import CPU, TINY, trained
from unlearnkit.errors import NonFiniteLossError, OutputError
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.runtime.runlog import Stage
from unlearnkit.steps.checkpoints import place_of
from unlearnkit.steps.output import Output
from unlearnkit.steps.retrain import retrain_run
from unlearnkit.steps.specs import RetrainSpec, TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.steps.verify import verify_run

EPOCHS = 3
SPEC = TrainSpec(
    model=TINY, data="digits", settings=(f"epochs={EPOCHS}", "batch_size=500", "augment=crop_flip", "lookahead=true")
)
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be copied")


@pytest.fixture(autouse=True)
def at_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)


def run(out: Path, spec: TrainSpec = SPEC, *, seed: int = 1, **more: Any) -> Path:
    train_run(spec, Output(out), seed=seed, **{"runtime": CPU} | more)
    return out


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads of a process are not copied with it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts."""
    return run(tmp_path_factory.mktemp("whole") / "run")


def killed(work: Callable[[], object], moment: Callable[[Callable[[], None]], None]) -> None:
    """Run the work in a process that kills itself; `moment` arranges when."""
    child = os.fork()
    if child == 0:
        try:
            moment(lambda: os.kill(os.getpid(), signal.SIGKILL))
            work()
        finally:
            traceback.print_exc()
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def at_step(number: int) -> Callable[[Callable[[], None]], None]:
    def arrange(kill: Callable[[], None]) -> None:
        def counted(self: Stage, loss: torch.Tensor) -> None:
            steps.append(1)
            if len(steps) == number:
                kill()
            step(self, loss)

        step, steps = Stage.step, list[int]()
        Stage.step = counted  # type: ignore[method-assign]

    return arrange


def at_rename(number: int) -> Callable[[Callable[[], None]], None]:
    """Saves rename a file each; the last rename is that of the run folder."""

    def arrange(kill: Callable[[], None]) -> None:
        def hook(event: str, _args: object) -> None:
            if event == "os.rename":
                renames.append(1)
                if len(renames) == number:
                    kill()

        renames: list[int] = []
        sys.addaudithook(hook)

    return arrange


MOMENTS = {
    "in the first epoch": (at_step(2), None),
    "while the first epoch is saved": (at_rename(1), None),
    "in the second epoch": (at_step(5), 1),
    "while the second epoch is saved": (at_rename(2), 1),
    "in the third epoch": (at_step(8), 2),
    "while the run is put in its place": (at_rename(4), 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("when", MOMENTS)
def test_a_killed_training_ends_with_the_same_weights(when: str, whole: Path, tmp_path: Path) -> None:
    moment, epochs = MOMENTS[when]
    killed(lambda: run(tmp_path / "run"), moment)
    assert not (tmp_path / "run").exists()
    assert place_of(tmp_path / "run").exists() == (epochs is not None)
    out = run(tmp_path / "run", resume=True)
    assert (out / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert verify_run(out)["ok"]
    for name in ("access.json", "history.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert read_json(out, "config.json")["notes"].get("resumed_after_epoch") == epochs
    assert not [path for path in tmp_path.iterdir() if path != out and "unlearnkit" not in path.name]


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    killed(lambda: run(tmp_path / "run"), at_step(5))
    return tmp_path / "run"


def test_what_differs_is_named(unfinished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = place_of(unfinished)
    kept = path.read_bytes()
    with pytest.raises(OutputError, match=r"Expected --resume, as .*unfinished\.safetensors holds an interrupted"):
        run(unfinished)
    others: list[tuple[str, TrainSpec, dict[str, Any]]] = [
        (r"seed 1 where this command has 2", SPEC, {"seed": 2}),
        (r"recipe\.lr 0\.1 where this command has 0\.05", replace(SPEC, settings=(*SPEC.settings, "lr=0.05")), {}),
        (r'model "small-cnn,width=4" where .* "small-cnn,width=5"', replace(SPEC, model="small-cnn,width=5"), {}),
        (r'exclude \[\] where this command has \["3"\]', replace(SPEC, exclude=("3",)), {}),
    ]
    for words, spec, more in others:
        with pytest.raises(OutputError, match=f"made with {words}; run the command as it was, or delete"):
            run(unfinished, spec, resume=True, **more)
    monkeypatch.setattr(checkpoints, "LOOKED_AT", 10)  # the same images, of which others are looked at
    with pytest.raises(OutputError, match="made with other images or labels; run the command"):
        run(unfinished, resume=True)
    monkeypatch.setattr(checkpoints, "LOOKED_AT", 1000)
    monkeypatch.setattr(checkpoints, "versions", lambda: {"torch": "1.0", "platform": "x"})
    with pytest.raises(OutputError, match=r'made with torch "[^"]+" where this command has "1\.0"'):
        run(unfinished, resume=True)
    assert path.read_bytes() == kept, "a refusal changes nothing"


@pytest.mark.slow
def test_operations_are_counted_on_or_left_out(whole: Path, unfinished: Path, tmp_path: Path) -> None:
    def costs(out: Path) -> list[dict[str, Any]]:
        found = read_json(out, "cost.json", "total", "stages")
        return [found["total"], found["stages"]["train"]]

    counting = replace(CPU, count_operations=True)
    with pytest.raises(OutputError, match="but it was made with no count of operations so far; run the command as it"):
        run(unfinished, resume=True, runtime=counting)
    undisturbed = costs(run(tmp_path / "counted", runtime=counting))
    assert (tmp_path / "counted" / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert undisturbed[0]["operations"] == undisturbed[1]["operations"] > 0
    for runtime, expected in ((counting, undisturbed[0]["operations"]), (CPU, None)):
        out = tmp_path / f"begun with a count, {runtime.count_operations}"
        killed(lambda out=out: run(out, runtime=counting), at_step(5))  # type: ignore[misc]
        assert [cost.get("operations") for cost in costs(run(out, resume=True, runtime=runtime))] == [expected] * 2


def edited(path: Path, **changes: Any) -> None:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        record = json.loads(file.metadata()[checkpoints.KEY]) | changes
    save_file(tensors, path, metadata={checkpoints.KEY: json.dumps(record)})


def test_a_damaged_file_is_refused(unfinished: Path) -> None:
    path = place_of(unfinished)
    kept = path.read_bytes()
    for epochs in (0, 99, -1, "two", 1e300):
        edited(path, epochs=epochs)
        with pytest.raises(OutputError, match=r"Expected an interrupted training .* damaged .*; delete it"):
            run(unfinished, resume=True)
        path.write_bytes(kept)
    edited(path, numbers={"seconds": 1})
    with pytest.raises(OutputError, match=r"numbers.*; delete it"):
        run(unfinished, resume=True)
    for content in (kept[: len(kept) // 2], b"", b"\x80\x02pickle"):
        path.write_bytes(content)
        with pytest.raises(OutputError, match=r"Expected an interrupted training .*; delete it"):
            run(unfinished, resume=True)


def test_nothing_to_go_on_from_is_said_and_a_loss_that_is_no_number_leaves_nothing(tmp_path: Path) -> None:
    spec = replace(SPEC, settings=(*SPEC.settings, "lr=1000", "optimizer=sgd", "epochs=9"))
    with pytest.raises(NonFiniteLossError):
        run(tmp_path / "run", spec, resume=True)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "replace_file", full)
    assert (run(tmp_path / "run") / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()


@pytest.mark.slow
def test_retraining_keeps_what_is_finished_and_goes_on_with_what_is_not(tmp_path: Path) -> None:
    of = trained(tmp_path / "of", "epochs=2", "batch_size=500")
    spec = RetrainSpec(of=of, exclude=("3",), count=2)
    plain, broken = tmp_path / "plain", tmp_path / "broken"
    expected = [Path(each["path"]) for each in retrain_run(spec, plain, runtime=CPU)["references"]]
    steps = len(read_json(expected[0].parent, "history.json")["train"])
    killed(lambda: retrain_run(spec, broken, runtime=CPU), at_step(steps + steps // 2 + 1))  # the second, epoch 2
    assert [path.name.count("unfinished") for path in sorted(broken.iterdir()) if path.name[0] != "."].count(1) == 1
    references = retrain_run(spec, broken, runtime=CPU, resume=True)["references"]
    assert [each["trained"] for each in references] == [False, True]
    found = [Path(each["path"]) for each in references]
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in expected]
    assert read_json(found[1].parent, "config.json")["notes"]["resumed_after_epoch"] == 1
    assert not list(broken.glob("*unfinished*"))


def test_the_command_has_the_option(unfinished: Path) -> None:
    words = ("train", "--model", TINY, "--data", "digits", "--out", unfinished, "--seed", 2, "--quiet")
    settings = (word for setting in SPEC.settings for word in ("--set", setting))
    assert_refused(run_cli(*words, "--device", "cpu", *settings, "--resume"), "made with seed 1", "has 2")
