"""Counts the floating-point operations of what torch runs: matrix products, convolutions, attention, linear algebra.

Element-wise work, sums, normalisation, pooling, sorting and decoding are left out: on networks they are a small share
of the arithmetic, and nobody agrees on what they come to. What numpy or another library computes is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Shape = Sequence[int]


class Operations:
    """Counts the floating-point operations of every thread that asks for it.

    A multiplication and an addition are two, whatever the precision. Formulas of products, convolutions and attention,
    forward and backward, are torch's own (`torch.utils.flop_counter`). This file adds those of linear algebra and of
    what torch runs as one operator on a CPU or without gradients, and corrects the weights' gradient of grouped
    convolutions, which torch's counts once for each group too often.

    Results are those of a run that nobody counts, to the last bit with one exception: where gradients of two paths
    meet, torch adds them up in another memory layout while a mode watches, and a convolution may then round otherwise.

    torch's FlopCounterMode itself is not used: until it ends it keeps two hooks for each call of each module, it hooks
    the modules of all threads, and it cuts operators into parts that may round otherwise.

    >>> import torch
    >>> operations = Operations()
    >>> with operations.counting():
    ...     product = torch.ones(3, 4) @ torch.ones(4, 5)
    >>> operations.total == 2 * 3 * 4 * 5
    True
    """

    def __init__(self) -> None:
        self.total = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what this thread runs in the `with` block, and what backward passes run for it."""
        with _Watch(self):  # each thread has its own, as a mode keeps what was there before it
            torch.empty(0)  # the first operator that a mode sees loads torch's compiler, before anybody reads a clock
            yield


class _Watch(TorchDispatchMode):
    """Sees every operator that one thread runs, and lets it run as it is."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self._operations, self._formulas = operations, _formulas()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():  # composite operators come here whole
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        out = func(*args, **kwargs)
        formula = self._formulas.get(func.overloadpacket)
        if formula is not None:
            self._operations.total += int(formula(*args, **kwargs, out_val=out))
        return out


# ---- formulas: tensors among the arguments are given as their shapes; "section" is of G. H. Golub, C. F. Van Loan,
# "Matrix Computations", 4th edition, 2013, whose leading terms are taken


def _matrices(a: Shape) -> int:
    """Return how many matrices a batch (..., m, n) holds."""
    return prod(a[:-2])


def _cubes(a: Shape) -> int:
    """Return n^3 of all of them together."""
    return _matrices(a) * int(a[-1]) ** 3


def _eigh(a: Shape, _uplo: str = "L", compute_v: bool = True, **_: Any) -> int:
    """Symmetric QR algorithm, section 8.3.3."""
    return 9 * _cubes(a) if compute_v else 4 * _cubes(a) // 3


def _svd(a: Shape, full_matrices: bool = False, compute_uv: bool = True, **_: Any) -> int:
    """Golub-Reinsch, or a QR decomposition first where that is cheaper; table in section 8.6.3."""
    m, n = max(a[-2:]), min(a[-2:])
    if not compute_uv:
        one = min(4 * m * n**2 - 4 * n**3 // 3, 2 * m * n**2 + 2 * n**3)
    elif full_matrices:
        one = 4 * m**2 * n + min(8 * m * n**2 + 9 * n**3, 22 * n**3)
    else:
        one = min(14 * m * n**2 + 8 * n**3, 6 * m * n**2 + 20 * n**3)
    return _matrices(a) * one


def _solve(a: Shape, _b: Shape, out_shape: Sequence[Any], **_: Any) -> int:
    """Gaussian elimination, section 3.2, then n^2 for each of two triangles and each column, section 3.1."""
    return 2 * _cubes(a) // 3 + 2 * a[-1] * int(prod(out_shape[0]))


def _inverse(a: Shape, **_: Any) -> int:
    """Gaussian elimination and n columns, sections 3.1 and 3.2; zeros of the columns are made use of."""
    return 2 * _cubes(a)


def _cholesky(a: Shape, **_: Any) -> int:
    """Section 4.2."""
    return _cubes(a) // 3


def _cholesky_solve(b: Shape, a: Shape, *_args: Any, **_: Any) -> int:
    """Two triangles, n^2 each for each column, section 3.1."""
    return 2 * a[-1] * prod(b)


def _pinv(a: Shape, *_args: Any, hermitian: bool = False, **_: Any) -> int:
    """A decomposition and the product of its parts."""
    m, n = max(a[-2:]), min(a[-2:])
    return (_eigh(a) if hermitian else _svd(a)) + _matrices(a) * 2 * m * n**2


def _dot(a: Shape, _b: Shape, **_: Any) -> int:
    return 2 * prod(a)


def _mv(a: Shape, _b: Shape, **_: Any) -> int:
    return 2 * prod(a)


def _addmv(_added: Shape, a: Shape, _b: Shape, **_: Any) -> int:
    return 2 * prod(a)


def _distances(a: Shape, b: Shape, *_args: Any, **_: Any) -> int:
    """Those of a product of the same shapes."""
    return 2 * prod(a) * b[-2]


def _convolution_backward(
    grad: Shape,
    x: Shape,
    weight: Shape,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_: Any,
) -> int:
    """Those of the forward pass for each of the two gradients that are asked for, in groups as without."""
    positions = (x if transposed else grad)[2:]
    return 2 * grad[0] * int(prod(positions)) * int(prod(weight)) * sum(output_mask[:2])


def _attention(
    query: Shape,
    key: Shape,
    _value: Shape,
    embed_dim: int,
    _heads: int,
    qkv: Shape,
    _qkv_bias: Any,
    out: Shape,
    *_args: Any,
    **_: Any,
) -> int:
    """Projections of every token, then two products of all pairs of tokens."""
    pairs = query[0] * query[1] * key[1]
    return 2 * query[0] * query[1] * (prod(qkv) + prod(out)) + 4 * pairs * embed_dim


def _encoder_layer(
    src: Shape, embed_dim: int, heads: int, qkv: Shape, qkv_bias: Any, out: Shape, *rest: Any, **_: Any
) -> int:
    """Attention, and the two layers behind it, whose weights are the last two matrices."""
    layers = [shape for shape in rest if isinstance(shape, torch.Size) and len(shape) == 2][:2]
    attention = _attention(src, src, src, embed_dim, heads, qkv, qkv_bias, out)
    return attention + 2 * src[0] * src[1] * sum(prod(weight) for weight in layers)


@cache
def _formulas() -> dict[Any, Callable[..., int]]:
    """Return torch's formulas with ours, by operator; each takes the operator's arguments and its result."""
    from torch.utils.flop_counter import FlopCounterMode  # loads triton, which few runs need

    aten = torch.ops.aten
    ours = {
        aten._linalg_eigh: _eigh,
        aten._linalg_svd: _svd,
        aten._linalg_solve_ex: _solve,
        aten.linalg_inv_ex: _inverse,
        aten.linalg_cholesky_ex: _cholesky,
        aten.cholesky_solve: _cholesky_solve,
        aten.linalg_pinv: _pinv,
        aten.convolution_backward: _convolution_backward,
        aten.dot: _dot,
        aten.vdot: _dot,
        aten.mv: _mv,
        aten.addmv: _addmv,
        aten.addmv_: _addmv,
        aten._cdist_forward: _distances,
        aten._euclidean_dist: _distances,
        aten._native_multi_head_attention: _attention,
        aten._transformer_encoder_layer_fwd: _encoder_layer,
    }
    known: dict[Any, Callable[..., int]] = FlopCounterMode(display=False, custom_mapping=ours).flop_registry
    flash = "_scaled_dot_product_flash_attention"
    alike = {  # the same arguments as of an operator that torch knows
        "addmm_": "addmm",
        "baddbmm_": "baddbmm",
        f"{flash}_for_cpu": flash,
        f"{flash}_for_cpu_backward": f"{flash}_backward",
    }
    return known | {getattr(aten, name): known[getattr(aten, other)] for name, other in alike.items()}
