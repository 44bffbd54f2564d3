"""The count of floating-point operations, against counts by hand; and what a counted run must not change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU, METHODS, MODELS
from contract_runs import same_tensors
from unlearnkit.errors import ConfigError
from unlearnkit.methods import METHODS as REGISTRY
from unlearnkit.methods import Unlearned, unlearn
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.cost import Cost
from unlearnkit.runtime.operations import Operations
from unlearnkit.runtime.processes import Processes
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime

COUNTING = replace(CPU, count_operations=True)


def counted(work: Callable[[], object]) -> int:
    operations = Operations()
    with operations.counting():
        work()
    return operations.total


def square(n: int) -> Tensor:
    return torch.eye(n) + 0.1


PRODUCT = 2 * 7 * 3 * 5  # of a linear layer of 3 inputs and 5 outputs on seven rows
BLOCK = 2 * 15 * (4 * 16 * 16 + 2 * 16 * 24)  # weights of the transformer's block, on three times five tokens


def learned(layer: nn.Module, *shape: int, inputs: bool = True) -> Callable[[], object]:
    return lambda: layer(torch.ones(*shape, requires_grad=inputs)).sum().backward()


WORK: dict[str, tuple[Callable[[], object], int]] = {
    "linear": (lambda: nn.Linear(3, 5)(torch.ones(7, 3)), PRODUCT),
    "its weights' gradient": (learned(nn.Linear(3, 5), 7, 3, inputs=False), 2 * PRODUCT),
    "and its inputs'": (learned(nn.Linear(3, 5), 7, 3), 3 * PRODUCT),
    "convolution": (learned(nn.Conv2d(4, 6, 3), 5, 4, 8, 8), 3 * 2 * 5 * 36 * 6 * 4 * 9),
    "the first one": (learned(nn.Conv2d(4, 6, 3), 5, 4, 8, 8, inputs=False), 2 * 2 * 5 * 36 * 6 * 4 * 9),
    "in strides": (learned(nn.Conv2d(4, 6, 3, stride=2, padding=1), 5, 4, 8, 8), 3 * 2 * 5 * 16 * 6 * 4 * 9),
    "in groups": (learned(nn.Conv2d(4, 6, 3, groups=2), 5, 4, 8, 8), 3 * 2 * 5 * 36 * 6 * 2 * 9),
    "transposed": (learned(nn.ConvTranspose2d(4, 6, 3), 5, 4, 8, 8), 3 * 2 * 5 * 64 * 6 * 4 * 9),
    "added to a Gram matrix": (lambda: torch.ones(5, 5).addmm_(torch.ones(5, 3), torch.ones(3, 5)), 2 * 5 * 3 * 5),
    "vector": (lambda: torch.ones(4, 3) @ torch.ones(3), 2 * 4 * 3),
    "distances": (lambda: torch.cdist(torch.ones(40, 3), torch.ones(50, 3)), 2 * 40 * 50 * 3),
    "few distances": (lambda: torch.cdist(torch.ones(4, 3), torch.ones(5, 3)), 2 * 4 * 5 * 3),
    "eigenvectors": (lambda: torch.linalg.eigh(square(6)), 9 * 216),
    "of two matrices": (lambda: torch.linalg.eigh(torch.stack([square(6)] * 2)), 2 * 9 * 216),
    "svd": (lambda: torch.linalg.svd(torch.ones(4, 5), full_matrices=False), 14 * 5 * 16 + 8 * 64),
    "tall svd": (lambda: torch.linalg.svd(torch.ones(40, 4), full_matrices=False), 6 * 40 * 16 + 20 * 64),
    "solve": (lambda: torch.linalg.solve(square(6), torch.ones(6, 2)), 2 * 216 // 3 + 2 * 36 * 2),
    "solve for a vector": (lambda: torch.linalg.solve(square(6), torch.ones(6)), 2 * 216 // 3 + 2 * 36),
    "inverse": (lambda: torch.linalg.inv(square(6)), 2 * 216),
    "cholesky": (lambda: torch.cholesky_solve(torch.ones(6, 2), torch.linalg.cholesky(square(6))), 72 + 2 * 36 * 2),
    "pseudo-inverse": (lambda: torch.linalg.pinv(square(6), hermitian=True), 9 * 216 + 2 * 216),
    "inference mode": (torch.inference_mode()(lambda: nn.Linear(3, 5)(torch.ones(7, 3))), PRODUCT),
    "element-wise": (lambda: torch.ones(99).exp().sum().sqrt(), 0),
}


@pytest.mark.parametrize("name", WORK)
def test_operations_are_those_counted_by_hand(name: str) -> None:
    work, expected = WORK[name]
    assert counted(work) == expected


def test_attention_counts_the_same_whichever_way_torch_takes() -> None:
    block = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=True).eval()
    tokens, pairs = torch.randn(3, 5, 16), 3 * 25 * 16
    attention, alone = block.self_attn, 2 * 15 * 4 * 16 * 16 + 4 * pairs
    for whole in (torch.no_grad(), torch.enable_grad()):  # one operator without gradients, and one for each layer
        with whole:
            assert counted(lambda: block(tokens)) == BLOCK + 4 * pairs
            assert counted(lambda: attention(tokens, tokens, tokens, need_weights=False)) == alone
    # the scores are computed once more, then four products
    assert counted(lambda: block(tokens.requires_grad_()).sum().backward()) == 3 * BLOCK + (4 + 10) * pairs


def test_threads_count_together_and_only_while_they_ask_for_it() -> None:
    operations = Operations()

    def work() -> None:
        with operations.counting():
            nn.Linear(3, 5)(torch.ones(7, 3))

    with operations.counting():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        work_of_nobody = threading.Thread(target=lambda: torch.ones(9, 9) @ torch.ones(9, 9))
        work_of_nobody.start()
        work_of_nobody.join()
        nn.Linear(3, 5)(torch.ones(7, 3))
    nn.Linear(3, 5)(torch.ones(7, 3))
    assert operations.total == 2 * PRODUCT


def test_a_log_has_the_operations_of_its_stages_and_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    log, layer, rows = RunLog(COUNTING), nn.Linear(3, 5), torch.ones(7, 3)
    with log.stage("before", 1):
        layer(rows)
    with log.counting():
        began = log.mark()
        layer(rows)  # in no stage, but in what is clocked as a whole
        with log.stage("work", 1), log.paused():
            layer(rows)
        log.go_on("earlier", [], {"seconds": 1, "samples_forward": 1, "samples_backward": 1, "peak_memory_bytes": 1})
        log.go_on("rest", [], log.stages["work"].as_record())
        with log.stage("rest", 1):
            layer(rows)
        total = log.since(began)
    assert {name: cost.operations for name, cost in log.stages.items()} == {
        "before": None,
        "work": PRODUCT,
        "earlier": None,
        "rest": 2 * PRODUCT,
    }
    assert log.total().operations is None  # of two stages nobody knows
    monkeypatch.setattr(Processes, "sum", lambda _self, tensors: [tensor.mul_(2) for tensor in tensors])
    assert log.join(total).operations == 2 * 3 * PRODUCT
    written = log.cost(total)
    assert written["total"]["operations"] == 6 * PRODUCT
    assert ["operations" in stage for stage in written["stages"].values()] == [False, True, False, True]


def test_a_log_counts_only_what_it_is_asked_to() -> None:
    for runtime, expected in ((CPU, None), (COUNTING, 0)):
        log = RunLog(runtime)
        with log.counting():
            assert log.total() == Cost(operations=expected)
    audit = RunLog(COUNTING)
    with audit.stage("relearn", 1):
        nn.Linear(3, 5)(torch.ones(7, 3))
    assert "operations" not in audit.cost()["stages"]["relearn"] | audit.cost()["total"]


def test_counting_beside_a_compiler_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected --compile or --count-operations, but got both"):
        Runtime.named("cpu", compile=True, count_operations=True)
    assert "count_operations" not in CPU.described()
    assert COUNTING.described()["count_operations"] is True


def forgotten(name: str, runtime: Runtime, model: str = "cnn-colour") -> Unlearned:
    setting, cat = MODELS[model], ForgetRequest(classes=("cat",))
    return unlearn(setting.model(), METHODS[name].method, setting.data(), cat, seed=5, runtime=runtime)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        *((name, "cnn-colour") for name in ("unsir", "erase", "ntk", "mixed-linear", "scar")),
        *((name, "vit-colour") for name in ("erase", "finetune", "fisher")),
    ],
)
def test_weights_are_the_same_where_operations_are_counted(name: str, model: str) -> None:
    """What torch.func, threads and linear algebra compute too."""
    plain = forgotten(name, CPU, model)
    result = forgotten(name, COUNTING, model)
    assert same_tensors(plain.model, result.model)
    assert plain.history == result.history
    found = [cost.pop("operations") for cost in (result.cost["total"], *result.cost["stages"].values())]
    assert found[0] >= sum(found[1:]) > 0
    assert min(found) > 0
    for key in ("samples_forward", "samples_backward"):
        assert result.cost["total"][key] == plain.cost["total"][key]
    assert result.cost["total"].keys() == plain.cost["total"].keys()


def test_erase_counts_its_passes_and_the_matrices_of_its_least_squares() -> None:
    stages = forgotten("erase", COUNTING).cost["stages"]
    model, image = MODELS["cnn-colour"].model(), torch.zeros(1, 3, 8, 8)
    with torch.no_grad():
        one = counted(lambda: model(image))
    assert stages["observe"]["operations"] >= one * stages["observe"]["samples_forward"]
    assert stages["erase"]["operations"] > 1.5 * one * stages["erase"]["samples_forward"]


def test_a_method_that_numpy_computes_is_refused() -> None:
    """Their heads are fitted by methods/linear/numerics.py."""
    numpy = {name for name, method in REGISTRY.items() if not method.in_torch}
    assert numpy == {"linear-refit", "newton-removal", "projective-residual", "descent-to-delete"}
    for name in numpy:
        with pytest.raises(ConfigError, match="Expected a method that torch computes for --count-operations, but"):
            forgotten(name, COUNTING)
