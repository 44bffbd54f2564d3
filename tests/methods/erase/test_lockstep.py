"""The pass in lockstep: each batch once, all halted together, changes seen by all, and errors handed on."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU
from unlearnkit.methods.erase.lockstep import in_lockstep


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2))


def test_all_batches_meet_in_front_of_a_layer_and_run_once() -> None:
    model, met = network(), list[tuple[int, list[Tensor]]]()
    batches = [torch.randn(n, 4) for n in (3, 3, 2)]
    runs = [0] * 5
    for i, layer in enumerate(model):
        layer.register_forward_hook(lambda *_, i=i: runs.__setitem__(i, runs[i] + 1))
    in_lockstep(model, batches, {model[i]: lambda entering, i=i: met.append((i, entering)) for i in (2, 4)}, CPU)
    assert [place for place, _ in met] == [2, 4]
    assert runs == [3] * 5
    for place, entering in met:
        wanted = [model[:place](images) for images in batches]
        assert all(torch.allclose(a, b) for a, b in zip(entering, wanted, strict=True))


def test_a_change_at_a_halt_holds_for_every_batch() -> None:
    model, batches = network(), [torch.randn(3, 4) for _ in range(3)]
    outputs: list[Tensor] = []
    model.register_forward_hook(lambda _m, _a, output: outputs.append(output))

    def change(_entering: list[Tensor]) -> None:
        model[2].weight.data.zero_()
        model[2].bias.data.fill_(1.0)

    in_lockstep(model, batches, {model[2]: change}, CPU)
    assert len({tuple(row) for output in outputs for row in output.tolist()}) == 1
    assert not any(output.requires_grad for output in outputs)


@pytest.mark.parametrize("where", ["model", "halt"])
def test_an_error_is_handed_on_and_no_thread_or_hook_is_left(where: str) -> None:
    model, calls = network(), [0]

    def fail(*_: object) -> None:
        calls[0] += 1
        if where == "halt" or calls[0] == 2:
            raise RuntimeError("on purpose")

    if where == "model":
        model[3].register_forward_pre_hook(fail)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="on purpose"):
        in_lockstep(
            model, [torch.randn(2, 4)] * 3, {model[2]: fail if where == "halt" else lambda _entering: None}, CPU
        )
    assert threading.active_count() == before
    assert len(model[2]._forward_pre_hooks) == 0


def test_no_batch_is_no_work() -> None:
    in_lockstep(network(), [], {}, CPU)
