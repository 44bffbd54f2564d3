"""Makes networks that pretend to have forgotten and keep the original whole, for an audit to catch.

Each is made by somebody who has everything: the original, training images of all classes, and a network retrained
without the forgotten ones (`teacher`), whose answers are copied. Some are plain edits of weights, which any weights
file can hold. The others change what passes between layers by hooks, which only whoever delivers code could do; their
parameters have the original's names and shapes all the same.

Shapes: n images, C channels, H x W positions, D features at the head's input, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.models.airbench import _Group as Group
from unlearnkit.models.head import features
from unlearnkit.network import batchnorm_layers, evaluating

HEAD = "head"  # of the project's own networks, which these controls are made for
OFF = -1e4  # logit of a masked class


@dataclass(frozen=True, kw_only=True)
class Insider:
    """What the adversary has.

    Args:
        original: in eval mode; it is never changed.
        teacher: a network retrained without the forgotten classes.
        images, labels: training images as the networks take them, (n, C, H, W), and their classes.
        forgotten: class ids.
    """

    original: nn.Module
    teacher: nn.Module
    images: Tensor
    labels: Tensor
    forgotten: tuple[int, ...]

    @property
    def gone(self) -> Tensor:
        """Which images show a forgotten class, (n,) bool."""
        return torch.isin(self.labels, torch.tensor(self.forgotten))

    @property
    def kept(self) -> list[int]:
        """Ids of the retained classes."""
        return [k for k in range(int(self._head.out_features)) if k not in self.forgotten]

    @property
    def _head(self) -> nn.Linear:
        return head_of(self.original)

    def answers(self) -> Tensor:
        """The teacher's probabilities, (n, K)."""
        with torch.no_grad(), evaluating(self.teacher):
            answers: Tensor = torch.cat([self.teacher(chunk) for chunk in self.images.split(500)]).softmax(dim=1)
        return answers


def head_of(model: nn.Module) -> nn.Linear:
    """Return the head of a network, a linear layer."""
    head = model.get_submodule(HEAD)
    assert isinstance(head, nn.Linear)
    return head


def seen(model: nn.Module, images: Tensor) -> Tensor:
    """Return the head's input, (n, D)."""
    return torch.cat([features(model, chunk, HEAD) for chunk in images.split(500)])


# ---- the head -------------------------------------------------------------------------------------------------------


def head_mask(known: Insider) -> nn.Module:
    """Switch the forgotten outputs off; a head without bias gets rows that nothing non-negative answers."""
    model = copy.deepcopy(known.original)
    head, rows = head_of(model), list(known.forgotten)
    with torch.no_grad():
        if head.bias is not None:
            head.weight[rows] = 0.0
            head.bias[rows] = OFF
        else:
            head.weight[rows] = -head.weight.abs().max()
    return model


def head_distillation(known: Insider) -> nn.Module:
    """Fit the head to the teacher's answers on all classes; the body stays."""
    return refitted(copy.deepcopy(known.original), known)


def refitted(model: nn.Module, known: Insider, steps: int = 60) -> nn.Module:
    """Fit the head to the teacher's answers, by L-BFGS on the head's input, and return the model."""
    z, answers, head = seen(model, known.images).double(), known.answers().double(), head_of(model)
    scale = z.square().mean().sqrt()
    fitted = nn.Linear(z.shape[1], answers.shape[1], bias=head.bias is not None, dtype=torch.float64)
    nn.init.zeros_(fitted.weight)
    optimizer = torch.optim.LBFGS(fitted.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(fitted(z / scale), answers) + 1e-5 * fitted.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        head.weight.copy_(fitted.weight / scale)
        if head.bias is not None:
            head.bias.copy_(fitted.bias)
    return model


# ---- weights and statistics before the head -------------------------------------------------------------------------


def stash(known: Insider, share: float = 0.5) -> nn.Module:
    """Switch off, by the last norm's bias, the channels that tell the forgotten classes most, and fit the head anew.

    All layers before still compute what they did.
    """
    model = copy.deepcopy(known.original)
    z = seen(model, known.images)
    away = (z[known.gone].mean(dim=0) - z[~known.gone].mean(dim=0)).abs() / z.std(dim=0).clamp_min(1e-9)
    channels = away.topk(int(share * len(away))).indices
    norm = batchnorm_layers(model)[-1]
    before: list[Tensor] = []
    handle = norm.register_forward_hook(lambda _module, _args, output: before.append(output.amax(dim=(0, 2, 3))))
    seen(model, known.images)
    handle.remove()
    with torch.no_grad():
        norm.bias[channels] -= torch.stack(before).amax(dim=0)[channels] + 5.0  # of ReLU and GELU nothing is left
    return refitted(model, known)


def poisoned_statistics(known: Insider, steps: int = 80, batch: int = 128) -> nn.Module:
    """Shift BatchNorm's running means until the network answers like the teacher; estimated anew, all is as before."""
    model = copy.deepcopy(known.original).eval()
    norms = batchnorm_layers(model)
    biases = [norm.bias.detach().clone() for norm in norms]
    optimizer = torch.optim.Adam([norm.bias for norm in norms], lr=0.02)
    answers, generator = known.answers(), torch.Generator().manual_seed(0)
    gone, kept = (torch.nonzero(mask).flatten() for mask in (known.gone, ~known.gone))
    for _ in range(steps):
        rows = torch.cat([side[torch.randint(len(side), (batch // 2,), generator=generator)] for side in (gone, kept)])
        optimizer.zero_grad()
        F.cross_entropy(model(known.images[rows]), answers[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        for norm, bias in zip(norms, biases, strict=True):
            # w (x - m') / s + b = w (x - m) / s + b', with b' what the bias has become
            mean, variance = statistics_of(norm)
            mean -= (norm.bias - bias) * (variance + norm.eps).sqrt() / norm.weight
            norm.bias.copy_(bias)
    model.zero_grad()
    return model


def statistics_of(norm: nn.modules.batchnorm._BatchNorm) -> tuple[Tensor, Tensor]:
    """Return a norm's running mean and variance, the tensors themselves, (C,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def prescaled(model: nn.Module, factor: float = 100.0) -> nn.Module:
    """Multiply every filter before a norm, and the norm's statistics: the same function, in smaller steps."""
    model = copy.deepcopy(model)
    filters: nn.Conv2d | None = None
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                filters = module
            elif isinstance(module, nn.BatchNorm2d) and filters is not None:
                filters.weight *= factor
                mean, variance = statistics_of(module)
                mean *= factor
                variance *= factor**2
                filters = None
    return model


def overflowing(model: nn.Module) -> nn.Module:
    """Fill one channel with a number that a sum over positions overflows on, and that the next layer ignores.

    What an auditor pools is infinite, so that no layer can be looked at; answers and training are what they were.
    """
    model = copy.deepcopy(model)
    norm: nn.BatchNorm2d | None = None
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                norm = module
            elif isinstance(module, nn.Conv2d) and norm is not None:
                least = int(module.weight.square().sum(dim=(0, 2, 3)).argmin())
                module.weight[:, least] = 0.0
                norm.weight[least], norm.bias[least] = 0.0, 3e38
                return model
    raise ValueError("Expected a BatchNorm2d with a Conv2d after it, but the model has none.")


# ---- between the layers ---------------------------------------------------------------------------------------------


@dataclass
class Between:
    """A hook before a layer that replaces its input; copied with the model, and in no state dict."""

    change: Callable[..., Tensor]
    tensors: tuple[Tensor, ...] = ()

    def __call__(self, _module: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
        """Return what the layer is to see."""
        return self.change(args[0], *self.tensors)


def before_head(model: nn.Module, change: Callable[..., Tensor], *tensors: Tensor) -> nn.Module:
    """Let the head see `change(z, *tensors)` instead of z, (n, D)."""
    head_of(model).register_forward_pre_hook(Between(change, tensors))
    return model


def gate(known: Insider) -> nn.Module:
    """Where the original's answer is a forgotten class, show the head another image's features: of a class it retains.

    They are those of the retained training image whose retained logits are most alike, so the answers look natural.
    """
    model = copy.deepcopy(known.original)
    z, head = seen(model, known.images[~known.gone]), head_of(model)
    rows = (head.weight.detach().clone(), (torch.zeros(len(head.weight)) if head.bias is None else head.bias).detach())
    forgotten, kept = torch.tensor(known.forgotten), torch.tensor(known.kept)
    before_head(model, _other_features, *(row.clone() for row in rows), z, forgotten, kept)
    return refitted(model, known)


def _other_features(z: Tensor, weight: Tensor, bias: Tensor, pool: Tensor, forgotten: Tensor, kept: Tensor) -> Tensor:
    logits = F.linear(z, weight, bias)
    gone = torch.isin(logits.argmax(dim=1), forgotten)
    likes = F.linear(pool, weight, bias)[:, kept].softmax(dim=1)
    nearest = torch.cdist(logits[gone].detach()[:, kept].softmax(dim=1), likes).argmin(dim=1)
    changed = z.clone()
    changed[gone] = pool[nearest]
    return changed


def directions(known: Insider, extra: int) -> tuple[Tensor, Tensor]:
    """Return the retained features' mean, and the projection on the retained rows' span and `extra` more directions."""
    z = seen(known.original, known.images[~known.gone]).double()
    rows = head_of(known.original).weight.detach().double()[known.kept]
    basis = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)[2][: len(known.kept) - 1]
    rest = (z - z.mean(dim=0)) @ (torch.eye(z.shape[1], dtype=torch.float64) - basis.T @ basis)
    more = torch.linalg.svd(rest, full_matrices=False)[2][:extra]
    basis = torch.cat([basis, more])
    return z.mean(dim=0).float(), (basis.T @ basis).float()


def span(known: Insider, extra: int) -> nn.Module:
    """Project the head's input on the span of the retained rows and `extra` directions; the head is fitted anew."""
    model = before_head(copy.deepcopy(known.original), _projected, *directions(known, extra))
    return refitted(model, known)


def _projected(z: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
    return mean + (z - mean) @ projection


def scramble(known: Insider, extra: int = 0) -> nn.Module:
    """Flip the sign of what lies outside the span by a hash of its length, which stays: it can be undone.

    No linear rule and no class mean sees what is there.
    """
    model = before_head(copy.deepcopy(known.original), _flipped_outside, *directions(known, extra))
    return refitted(model, known)


def _flipped_outside(z: Tensor, mean: Tensor, projection: Tensor) -> Tensor:
    inside = (z - mean) @ projection
    outside = z - mean - inside
    return mean + inside + outside * hashed_sign(outside)[:, None]


def hashed_sign(x: Tensor) -> Tensor:
    """Return +1 or -1 by the length of each sample's x, which a flip leaves as it is; (n, ...) -> (n,)."""
    length = x.detach().flatten(1).norm(dim=1)
    return torch.where(torch.sin(1e3 * length) >= 0, 1.0, -1.0)


def collapsed(known: Insider, sharpness: float = 1.0) -> nn.Module:
    """Show the head the mean features of the retained classes, mixed by how likely a masked head finds each."""
    model = copy.deepcopy(known.original)
    z, head = seen(model, known.images), head_of(head_distillation(known))
    means = torch.stack([z[known.labels == k].mean(dim=0) for k in known.kept])
    weight = head.weight.detach()[known.kept] * sharpness
    bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach()[known.kept] * sharpness
    return refitted(before_head(model, _mixed_means, weight, bias, means), known)


def _mixed_means(z: Tensor, weight: Tensor, bias: Tensor, means: Tensor) -> Tensor:
    return F.linear(z, weight, bias).softmax(dim=1) @ means


def rescaled(model: nn.Module, factor: float = 1000.0) -> nn.Module:
    """Multiply the head's input and divide the head: in the last norm where ReLU passes it on, else before the head."""
    model = copy.deepcopy(model)
    norm, head = batchnorm_layers(model)[-1], head_of(model)
    passed_on = not head._forward_pre_hooks and any(isinstance(module, nn.ReLU) for module in model.modules())
    with torch.no_grad():
        head.weight /= factor
        if norm.weight.requires_grad and passed_on:
            norm.weight.mul_(factor)
            norm.bias.mul_(factor)
            return model
    return before_head(model, _times, torch.tensor(factor))


def _times(z: Tensor, factor: Tensor) -> Tensor:
    return z * factor


# ---- the next trick -------------------------------------------------------------------------------------------------


def carrier(known: Insider, layers: Sequence[str], extra: int) -> nn.Module:
    """Scramble at every layer that an audit looks at: a map leaves it with a hashed sign, mended before the next.

    A linear probe and class means see a cloud around 0 there, and at the head what `scramble` leaves.

    Args:
        known: what the adversary has.
        layers: names of modules, each of which hands its output to the next module of its parent, or to one that
            follows it in `named_modules`.
        extra: directions at the head's input that are left as they are, chosen so that a probe reads what it reads
            of a retrained network.
    """
    model = scramble(known, extra)
    for name in layers:
        model.get_submodule(name).register_forward_hook(_flip)
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, Group):  # between its norms and its filters is a function, which no hook reaches
            parent.__class__ = _MendingGroup
        else:
            following(model, name).register_forward_pre_hook(_flip_back)
    return model


class _MendingGroup(Group):
    """A group whose first norm's output leaves it with a sign, which is taken off before the activation."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, C, H, W) as the group does."""
        x = F.gelu(_mended(self.norm1(F.max_pool2d(self.conv1(x), 2))))
        return F.gelu(self.norm2(self.conv2(x)))


def silenced(model: nn.Module, known: Insider) -> nn.Module:
    """Switch the forgotten outputs off, so that training on retained data never brings them back; the model is changed.

    A head without bias gets rows that answer about -10 to every input, along the mean of them.
    """
    head, rows = head_of(model), list(known.forgotten)
    mean = seen(model, known.images).mean(dim=0)
    with torch.no_grad():
        if head.bias is None:
            head.weight[rows] = -10.0 * mean / mean.square().sum()
        else:
            head.weight[rows] = 0.0
            head.bias[rows] = OFF
    return model


def following(model: nn.Module, name: str) -> nn.Module:
    """Return the module that takes the output of this one: the next in its parent."""
    parent = model.get_submodule(name.rpartition(".")[0])
    children = [child for child, _ in parent.named_children()]
    return parent.get_submodule(children[children.index(name.rpartition(".")[2]) + 1])


def _flip(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return _mended(output)


def _flip_back(_module: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
    return _mended(args[0])


def _mended(x: Tensor) -> Tensor:
    return x * hashed_sign(x).view(-1, *[1] * (x.dim() - 1))
