"""Cost, losses and randomness of a run: what is counted, what is not, and what is put back."""

from __future__ import annotations

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from canonical import CPU, tiny_data
from unlearnkit.errors import ConfigError, NonFiniteLossError
from unlearnkit.runtime.cost import Cost, Meter
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import CHECK_EVERY, RunLog
from unlearnkit.runtime.runtime import Runtime

# ---- Meter -------------------------------------------------------------------------------------------------------


def test_samples_are_counted_forward_and_backward() -> None:
    meter = Meter()
    model = meter.attach(nn.Linear(2, 3))
    model(torch.zeros(5, 2)).sum().backward()
    model(torch.zeros(4, 2))
    assert (meter.forward, meter.backward) == (9, 5)


def test_without_gradients_only_forward_passes_are_counted() -> None:
    meter = Meter()
    model = meter.attach(nn.Linear(2, 3))
    with torch.no_grad():
        model(torch.zeros(5, 2))
    model.requires_grad_(False)(torch.zeros(2, 2))
    assert (meter.forward, meter.backward) == (7, 0)


def test_gradients_of_the_input_alone_count_as_a_backward_pass() -> None:
    meter = Meter()
    model = meter.attach(nn.Linear(2, 3).requires_grad_(False))
    model(torch.zeros(6, 2, requires_grad=True)).sum().backward()
    assert (meter.forward, meter.backward) == (6, 6)


def test_a_deep_copy_is_counted_by_the_same_meter() -> None:
    meter = Meter()
    model = meter.attach(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3)))
    twin = copy.deepcopy(copy.deepcopy(model))
    twin(torch.zeros(5, 2)).sum().backward()
    model(torch.zeros(3, 2))
    assert (meter.forward, meter.backward) == (8, 5)
    meter.detach(twin)
    twin(torch.zeros(5, 2)).sum().backward()
    assert (meter.forward, meter.backward) == (8, 5)
    model(torch.zeros(1, 2))
    assert meter.forward == 9


def test_detach_takes_off_this_meter_alone() -> None:
    first, second, calls = Meter(), Meter(), []
    model = second.attach(first.attach(nn.Linear(2, 3)))
    model.register_forward_hook(lambda *_: calls.append(1))
    first.detach(model)
    model(torch.zeros(2, 2))
    assert (first.forward, second.forward, len(calls)) == (0, 2, 1)


def test_an_object_with_logits_is_counted() -> None:
    class WithLogits(nn.Linear):
        def forward(self, images: Tensor) -> SimpleNamespace:  # type: ignore[override]
            return SimpleNamespace(logits=super().forward(images))

    meter = Meter()
    meter.attach(WithLogits(2, 3))(torch.zeros(5, 2)).logits.sum().backward()
    assert (meter.forward, meter.backward) == (5, 5)


# ---- RunLog ------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("unlearnkit.runtime.runlog", "unlearnkit.data.images"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


def test_decoding_is_no_part_of_a_stages_seconds(clock: Clock) -> None:
    decoding = [3.0]
    log = RunLog(CPU, decode_seconds=lambda: decoding[0])
    with log.stage("work", 1):
        clock.now += 5
        decoding[0] += 2
    assert log.stages["work"].seconds == pytest.approx(3)


def test_decoding_of_images_is_measured_once(clock: Clock) -> None:
    data = tiny_data()
    decode = data.train._decode

    def slowly(rows: object, shape: object) -> Tensor:
        clock.now += 7
        return decode(rows, shape)  # type: ignore[arg-type]

    data.train._decode = slowly  # type: ignore[assignment]
    data.fix_shape(0)
    log = RunLog(CPU, decode_seconds=lambda: data.decode_seconds)
    for _ in range(2):
        with log.stage("read", 1):
            data.train.images(torch.arange(5), CPU.device)
            clock.now += 1
    assert data.decode_seconds == pytest.approx(7)
    assert log.stages["read"].seconds == pytest.approx(2)


def test_stages_of_one_name_add_up_and_so_does_the_total(clock: Clock) -> None:
    log = RunLog(CPU)
    model = log.meter.attach(nn.Linear(2, 3))
    for name, n in (("a", 4), ("b", 5), ("a", 6)):
        with log.stage(name, 1) as stage:
            loss = model(torch.zeros(n, 2)).sum()
            if name == "a":
                loss.backward()
            clock.now += n
            stage.step(torch.tensor(float(n)))
    model(torch.zeros(100, 2))  # outside of every stage: nobody's cost
    a, b, total = log.stages["a"], log.stages["b"], log.total()
    assert (a.samples_forward, a.samples_backward) == (10, 10)
    assert (b.samples_forward, b.samples_backward) == (5, 0)
    assert (total.samples_forward, total.samples_backward) == (15, 10)
    assert (a.seconds, b.seconds, total.seconds) == pytest.approx((10, 5, 15))
    assert total.peak_memory_bytes == max(a.peak_memory_bytes, b.peak_memory_bytes) > 1_000_000
    assert log.history == {"a": [4.0, 6.0], "b": [5.0]}
    written = log.cost()
    assert list(written["stages"]) == ["a", "b"]
    assert set(written["total"]) == {"seconds", "samples_forward", "samples_backward", "peak_memory_bytes"}
    assert written["total"]["seconds"] == total.seconds


def test_costs_add_and_memory_is_the_maximum() -> None:
    assert Cost(1.0, 2, 3, 4) + Cost(0.5, 10, 20, 2) == Cost(1.5, 12, 23, 4)


def test_every_loss_is_recorded_in_order() -> None:
    log = RunLog(CPU)
    losses = [float(i) for i in range(3 * CHECK_EVERY + 5)]
    with log.stage("s", len(losses)) as stage:
        for value in losses:
            stage.step(torch.tensor(value, requires_grad=True))
    assert log.history["s"] == losses


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("step", [1, CHECK_EVERY, CHECK_EVERY + 3, 2 * CHECK_EVERY + 1])
def test_a_loss_that_is_not_finite_names_stage_and_step(step: int, bad: float) -> None:
    log = RunLog(CPU)

    def work() -> None:
        with log.stage("mend", 40) as stage:
            for i in range(1, 41):
                stage.step(torch.tensor(bad if i >= step else 1.0))
                done.append(i)

    done: list[int] = []
    with pytest.raises(NonFiniteLossError, match=rf"'mend' became \S+ at step {step};"):
        work()
    assert len(done) < step + CHECK_EVERY


def test_progress_is_told_of_every_step_and_finished_after_a_failure() -> None:
    told: list[str] = []

    class Told:
        def start(self, name: str, total: int) -> None:
            told.append(f"start {name} {total}")

        def advance(self, detail: str = "") -> None:
            told.append("advance")

        def finish(self) -> None:
            told.append("finish")

        def say(self, text: str) -> None:
            told.append(text)

    def work() -> None:
        with RunLog(CPU, Told()).stage("s", 2) as stage:
            stage.step(torch.tensor(1.0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert told == ["start s 2", "advance", "finish"]


# ---- randomness and device ---------------------------------------------------------------------------------------


def states() -> tuple[object, ...]:
    name, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), name, keys.tolist(), *rest


@pytest.mark.parametrize("fails", [False, True])
def test_random_states_are_restored_also_after_an_exception(fails: bool) -> None:
    before = states()
    try:
        with isolated_randomness(4):
            torch.rand(3), np.random.rand(3), random.random()
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert states() == before


def test_every_generator_is_seeded_and_nested_use_is_undone() -> None:
    def draw(generator: torch.Generator) -> tuple[object, ...]:
        return (
            torch.rand(2).tolist(),
            np.random.rand(2).tolist(),
            random.random(),
            torch.rand(2, generator=generator).tolist(),
        )

    with isolated_randomness(4) as outer:
        first = draw(outer)
        with isolated_randomness(5) as inner:
            other = draw(inner)
        after = draw(outer)
    torch.rand(7), np.random.rand(7), random.random()
    with isolated_randomness(4) as outer:
        assert draw(outer) == first
        assert draw(outer) == after
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_convolutions_are_deterministic_only_inside() -> None:
    before = (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    kept = (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32)
    with isolated_randomness(0):
        assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (True, False)
        assert (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32) == kept  # cuDNN stays in use
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == before


@pytest.mark.parametrize("seed", [-1, 2**31, 2**40])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match=str(seed)), isolated_randomness(seed):
        pass


@pytest.mark.parametrize("name", ["nonsense", "cpu:x", "cuda:99", ""])
def test_a_device_that_is_not_there_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        Runtime.named(name)


def test_a_runtime_by_name() -> None:
    assert Runtime.named("cpu").device == torch.device("cpu")
    assert Runtime.named("cpu", "bf16").precision == "bf16"
    assert Runtime.named(None).device.type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="eval_batch_size"):
        Runtime(eval_batch_size=0)
    with Runtime.named("cpu", "bf16").autocast():
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.bfloat16
    with Runtime.named("cpu").autocast():
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.float32
