"""Runs a few hundred retained training images through foreign weights before any work, and refuses what cannot fit."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.data.preprocessing import LEVELS, Origin
from unlearnkit.errors import ConfigError
from unlearnkit.network import evaluating, logits_of
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.steps.case import Case
from unlearnkit.steps.feeding import feeding_line
from unlearnkit.steps.plausible import Finding, judge

IMAGES, MOST_IMAGES = 384, 640  # what is drawn: this many, or 5 of each class up to the second number
PER_CLASS = 5
BATCH = 64
SHOWN = 4  # classes whose answers the message shows
BETTER = 0.2  # by which another way must raise the accuracy to be named


@dataclass(frozen=True, kw_only=True)
class FirstLook:
    """What the first look found.

    Args:
        finding: None where there was nothing to look at, or no need to.
        complaint: why the inputs do not belong together, as one sentence; None where they may.
        access: the images that were read for it.
    """

    finding: Finding | None
    complaint: str | None
    access: AccessLog

    def as_record(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """As config.json has it; None where nobody looked."""
        if self.finding is None:
            return None
        moves = [
            {"class": classes[move.label], "output": move.output, "share": move.share} for move in self.finding.moves
        ]
        return {
            "images": self.finding.images,
            "accuracy": self.finding.accuracy,
            "chance": self.finding.chance,
            "limit": self.finding.limit,
            "finding": self.finding.kind,
            "moved": moves,
            "complaint": self.complaint,
        }


class _Feeding(NamedTuple):
    """Another way to feed images of uint8 pixels: its name, the options for it, and pixels -> what the model takes."""

    name: str
    options: str
    feed: Callable[[Tensor], Tensor]


def first_look(case: Case, *, runtime: Runtime | None = None, progress: Progress | None = None) -> FirstLook:
    """Refuse weights that plainly do not belong to the data and the way it is fed.

    Weights with a card of ours say themselves what they belong to, and are not looked at. Of others a seeded draw of
    retained training images, of all classes alike, is run through the model. No image of a class to forget is read.

    Args:
        case: with the original; `case.spec.trust_inputs` goes on whatever is found.
        runtime: device and precision.
        progress: where it is said how images are fed, if they are refused; who goes on says so when work begins.

    Raises:
        ConfigError: the answers are no better than chance, or outputs hold the images of other classes.
    """
    progress, access = progress or Silent(), AccessLog(case.data)
    rows = case.split[Part.RETAIN_TRAIN]
    if case.checkpoint.card is not None or not len(rows):
        return FirstLook(finding=None, complaint=None, access=access)
    runtime = (runtime or Runtime()).alone()
    network = copy.deepcopy(case.model)
    runtime = runtime.fitted(network, case.data.shape, exact=True)
    network = runtime.weights(network)
    view = DataView(
        case.data,
        case.split,
        frozenset({Part.RETAIN_TRAIN}),
        reader="first_look",
        log=access,
        device=runtime.device,
    )
    samples = view.part(Part.RETAIN_TRAIN)
    drawn = drawn_alike(samples.labels)
    labels = samples.labels[drawn]
    with case.data.seeded_reads(0):
        pixels = samples.pixels(drawn)
    training = torch.bincount(case.data.labels("train"), minlength=len(case.classes))
    logits = _logits(network, pixels, case.data.normalise, runtime)
    finding = judge(logits, labels, training)
    complaint = None
    if finding.kind != "fits":
        ways = _feedings(case.data) if pixels.dtype == torch.uint8 else []
        fed = ((way, judge(_logits(network, pixels, way.feed, runtime), labels, training)) for way in ways)
        complaint = _complaint(case, finding, logits, labels, training, fed)
    if complaint is not None and not case.spec.trust_inputs:
        progress.say(feeding_line(case.data, case.classes_origin))
        raise ConfigError(f"{complaint} --trust-inputs goes on as it is.")
    if complaint is not None:
        progress.say(f"warning: {complaint} It goes on, as --trust-inputs is given.")
    return FirstLook(finding=finding, complaint=complaint, access=access)


def drawn_alike(labels: Tensor) -> Tensor:
    """Return positions of about `IMAGES` rows, as many of each class as there are, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randperm(len(labels), generator=generator)
    order = mixed[torch.argsort(labels[mixed], stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    ranks = torch.arange(len(labels)) - starts[labels[order]]
    wanted = min(max(IMAGES, PER_CLASS * int((counts > 0).sum())), MOST_IMAGES)
    return order[torch.argsort(ranks, stable=True)][:wanted].sort().values


@torch.no_grad()
def _logits(network: nn.Module, pixels: Tensor, feed: Callable[[Tensor], Tensor], runtime: Runtime) -> Tensor:
    """Logits (n, K) on the CPU of images that are fed in a certain way."""
    with evaluating(network):
        chunks = [logits_of(network(runtime.inputs(feed(chunk)))) for chunk in pixels.split(BATCH)]
    return torch.cat(chunks).float().cpu()


def _complaint(
    case: Case,
    finding: Finding,
    logits: Tensor,
    labels: Tensor,
    training: Tensor,
    fed: Iterator[tuple[_Feeding, Finding]],
) -> str:
    """Say what was expected, what the confusion is, its likely cause, and the option that mends it."""
    images = f"{finding.images} retained training images"
    enough = finding.accuracy + BETTER
    orders = [
        (name, order, found.accuracy)
        for name, order in _orders(case.classes)
        if (found := _under(order, case.classes, logits, labels, training)).kind == "fits" and found.accuracy >= enough
    ]
    best = max(orders, key=lambda each: each[2], default=None)
    where = "the list of --classes" if case.classes_origin is Origin.HAND else "the folders"
    if case.classes_origin not in (Origin.HAND, Origin.SOURCE):
        where = f"the class list ({case.classes_origin.value})"
    advice = "give --classes FILE with one name on each line, in the order of the model's outputs."
    if best is not None:
        name, order, accuracy = best
        shown = ", ".join(order[: SHOWN + 1])
        advice = (
            f"in {name} of the names ({shown}, ...) {accuracy:.1%} are right: give --classes FILE with one name on "
            "each line, in that order."
        )
    question = f"is the class order that of {where}? {advice[0].upper()}{advice[1:]}"
    if finding.kind == "moved":
        answers = [
            f"{case.classes[move.label]!r} with output {move.output} (here {case.classes[move.output]!r})"
            for move in finding.moves[:SHOWN]
        ]
        more = f" and {len(finding.moves) - SHOWN} more likewise" if len(finding.moves) > SHOWN else ""
        other = "" if best or len(labels.unique()) > 1 else " Or is the preprocessing another (--mean, --std)?"
        return (
            f"Expected the weights to know the classes in this order, but of {images} {finding.accuracy:.1%} are right "
            f"and the model answers {', '.join(answers)}{more}: {question}{other}"
        )
    output, share = finding.common
    much = f" and {share:.1%} are answered with output {output} ({case.classes[output]!r})" if share >= 0.5 else ""
    got = (
        f"Expected the weights to know the classes, but of {images} {finding.accuracy:.1%} are right{much}, which is "
        f"no better than chance (up to {finding.limit:.1%}: {finding.chance:.1%} and 3 standard errors)"
    )
    if best is not None:
        return f"{got}: {question}"
    ways = [(way, found.accuracy) for way, found in fed if found.kind == "fits" and found.accuracy >= enough]
    if ways:
        way, accuracy = max(ways, key=lambda each: each[1])
        return f"{got}; the likely cause is the preprocessing: with {way.name} {accuracy:.1%} are right: {way.options}."
    return (
        f"{got}, and neither the usual normalisations nor another order of the names mend it; the likely cause is an "
        "option of the architecture (give --model NAME,OPTION=VALUE), another --image-size, --crop-pct, --mean or "
        "--std, an order of classes that --classes must give, or weights that were trained for something else."
    )


def _under(order: Sequence[str], classes: Sequence[str], logits: Tensor, labels: Tensor, training: Tensor) -> Finding:
    """Judge the same answers as if the outputs stood for the names in another order."""
    place = {name: output for output, name in enumerate(order)}
    output_of = torch.tensor([place[name] for name in classes])
    return judge(logits, output_of[labels], training[torch.argsort(output_of)])


def _orders(classes: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Other orders in which tools list names, those that differ from the present one."""

    def natural(name: str) -> list[tuple[int, int, str]]:
        return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]

    orders = {
        "the numeric order": tuple(sorted(classes, key=natural)),
        "the order of text": tuple(sorted(classes)),
        "the order of the alphabet without regard to case": tuple(sorted(classes, key=str.casefold)),
        "the reverse order": tuple(reversed(classes)),
    }
    return [(name, order) for name, order in orders.items() if order != tuple(classes)]


def _feedings(data: ImageData) -> list[_Feeding]:
    """The usual ways to feed uint8 pictures, all but the present one."""
    channels, fed = data.shape[0], data.preprocessing
    usual = {
        "mean 0.5 and std 0.5": ((0.5,), (0.5,)),
        "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "CIFAR-10's mean and std": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "MNIST's mean and std": ((0.1307,), (0.3081,)),
        "pixels from 0 to 1": ((0.0,), (1.0,)),
        "pixels from 0 to 255": ((0.0,), (1 / LEVELS,)),
    }
    ways = []
    for name, (mean, std) in usual.items():
        if len(mean) in (1, channels) and (mean * channels, std * channels) != (fed.mean, fed.std):
            options = " ".join(f"--{key} {_listed(values)}" for key, values in (("mean", mean), ("std", std)))
            ways.append(_Feeding(name, f"give {options}", _normalising(mean, std)))
    if channels == 3:
        turn = "no option turns the channels round, so turn round the input channels of the first layer in the weights"
        caffe = _normalising((0.406, 0.456, 0.485), (1 / LEVELS,))
        ways.append(_Feeding("blue before red", turn, lambda pixels: data.normalise(pixels.flip(1))))
        ways.append(
            _Feeding(
                "blue before red, pixels from 0 to 255 less ImageNet's mean",
                f"{turn}, and give --mean 0.485,0.456,0.406 --std {1 / LEVELS:.6g}",
                lambda pixels: caffe(pixels.flip(1)),
            )
        )
    return ways


def _normalising(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
    def feed(pixels: Tensor) -> Tensor:
        centre, scale = (torch.tensor(values, device=pixels.device).view(1, -1, 1, 1) for values in (mean, std))
        return (pixels.float() / LEVELS - centre) / scale

    return feed


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.6g}" for value in values)
