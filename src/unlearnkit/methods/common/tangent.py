"""Multiplies the Jacobian of a network with vectors, and solves linear systems by such products alone.

Shapes: n samples, K classes, P weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearnkit.data.view import Batch, PartSamples
from unlearnkit.errors import ModelError
from unlearnkit.methods.common.importance import Weights
from unlearnkit.methods.method import Context
from unlearnkit.network import evaluating, logits_of
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.training.micro_batches import out_of_memory

BATCH = 100  # images that run together: products keep the activations of all layers


@dataclass(frozen=True)
class Tangent:
    """Products of the Jacobian of a model's logits on some samples, in eval mode; vectors are float64."""

    model: nn.Module
    weights: Weights
    samples: PartSamples
    ctx: Context

    def transposed(self, u_nK: Tensor) -> Tensor:
        """Return J^T u, (P,)."""
        return self._summed(lambda _forward, back, positions: back(u_nK[positions]))

    def normal(self, v_P: Tensor) -> Tensor:
        """Return J^T J v, (P,)."""
        return self._summed(lambda forward, back, _positions: back(forward(v_P)))

    def _summed(self, of_batch: Callable[..., Tensor]) -> Tensor:
        like = next(iter(self.weights.values()))
        total_P = torch.zeros(sum(w.numel() for w in self.weights.values()), dtype=torch.float64, device=like.device)
        batches = [Batch(positions) for positions in torch.arange(len(self.samples)).split(BATCH)]
        primal = {name: weight.detach() for name, weight in self.weights.items()}
        sizes = [weight.numel() for weight in primal.values()]
        with evaluating(self.model), sdpa_kernel(SDPBackend.MATH), _plain_attention(), warnings.catch_warnings():
            # torch's own, at a process's first derivative forward
            warnings.filterwarnings("ignore", message=".torch.jit.script. is deprecated", category=FutureWarning)
            for batch, images in zip(batches, self.samples.stream(batches), strict=True):
                fed = self.ctx.runtime.inputs(images)

                def logits(given: Weights, fed: Tensor = fed) -> Tensor:
                    return logits_of(functional_call(self.model, given, (fed,)))

                def forward(v_P: Tensor, logits: Callable[[Weights], Tensor] = logits) -> Tensor:
                    parts = zip(primal.items(), v_P.split(sizes), strict=True)
                    moved = {name: part.reshape(weight.shape).to(weight) for (name, weight), part in parts}
                    along: Tensor = jvp(logits, (primal,), (moved,))[1]
                    return along

                def back(u: Tensor, logits: Callable[[Weights], Tensor] = logits) -> Tensor:
                    (found,) = vjp(logits, primal)[1](u.to(like))
                    return torch.cat([found[name].flatten() for name in primal])

                try:
                    total_P += of_batch(forward, back, batch.positions)
                except RuntimeError as error:
                    if out_of_memory(error):
                        raise  # the model is not at fault
                    raise ModelError(
                        "Expected a model that torch.func differentiates forward and backward, but it fails "
                        f"({str(error).strip().splitlines()[0]}); choose erase or fisher with fisher.per_sample=loop."
                    ) from error
                self.ctx.log.meter.forward += 2 * len(images)
                self.ctx.log.meter.backward += len(images)
        return total_P


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Switch off torch's fused transformer layers, which have no forward derivative."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    right_P: Tensor,
    iterations: int,
    log: RunLog,
    *,
    stage: str,
    tolerance: float = 1e-6,
) -> tuple[Tensor, float]:
    """Solve A v = right for a positive definite A that is known by its products, from v = 0.

    Args:
        product: v -> A v.
        right_P: the right-hand side.
        iterations: at most, each of one product.
        log: where the residuals are recorded, as losses of the stage.
        stage: its name.
        tolerance: of the residual, as a fraction of the right-hand side, at which it ends.

    Returns:
        v, and |right - A v| / |right|.
    """
    solved_P, left_P, direction_P = torch.zeros_like(right_P), right_P.clone(), right_P.clone()
    size, whole = right_P.dot(right_P), right_P.norm().clamp_min(1e-300)
    with log.stage(stage, iterations) as progress:
        for _ in range(iterations):
            if float(size.sqrt() / whole) <= tolerance:
                break
            applied_P = product(direction_P)
            length = size / direction_P.dot(applied_P)
            solved_P += length * direction_P
            left_P -= length * applied_P
            now = left_P.dot(left_P)
            direction_P = left_P + now / size * direction_P
            size = now
            progress.step(size.sqrt() / whole)
    return solved_P, float(size.sqrt() / whole)
