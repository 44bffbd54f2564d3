"""Says why weights do not belong to the data: what the confusion is, its likely cause, and the option that mends it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unlearnkit.data.preprocessing import Origin
from unlearnkit.steps.judging import BETTER, Examined, Judging
from unlearnkit.steps.plausible import Finding, judge

SHOWN = 4  # classes whose answers the message shows
LISTED = 20  # names up to which an order is written out


class Complaint(NamedTuple):
    """Why the inputs do not belong together, and whether an option is known that mends it."""

    text: str
    mendable: bool


def complaint_of(subject: Examined, judging: Judging) -> Complaint:
    """Say what was expected, what the confusion is, its likely cause, and the option that mends it."""
    finding, logits, labels, training = judging.found, judging.logits, judging.labels, judging.training
    classes, named = subject.data.classes, subject.name
    images = f"{finding.images} retained training images"
    enough = finding.accuracy + BETTER
    orders = [
        (name, order, found.accuracy)
        for name, order in _orders(classes)
        if (found := _under(order, classes, logits, labels, training)).kind == "fits" and found.accuracy >= enough
    ]
    best = max(orders, key=lambda each: each[2], default=None)
    where = "the list of --classes" if subject.classes_origin is Origin.HAND else "the folders"
    if subject.classes_origin not in (Origin.HAND, Origin.SOURCE):
        where = f"the class list ({subject.classes_origin.value})"
    advice = "give --classes FILE with one name on each line, in the order of the model's outputs."
    if (answered := _by_answers(classes, finding, logits, labels)) is not None:
        advice = f"{advice[:-1]}, which by its answers is {', '.join(answered)}."
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
            f"{classes[move.label]!r} with output {move.output} (here {classes[move.output]!r})"
            for move in finding.moves[:SHOWN]
        ]
        more = f" and {len(finding.moves) - SHOWN} more likewise" if len(finding.moves) > SHOWN else ""
        other = "" if best or len(labels.unique()) > 1 else " Or is the preprocessing another (--mean, --std)?"
        return Complaint(
            f"Expected {named} to know the classes in this order, but of {images} {finding.accuracy:.1%} are right "
            f"and the model answers {', '.join(answers)}{more}: {question}{other}",
            mendable=True,
        )
    output, share = finding.common
    much = f" and {share:.1%} are answered with output {output} ({classes[output]!r})" if share >= 0.5 else ""
    got = (
        f"Expected {named} to know the classes, but of {images} {finding.accuracy:.1%} are right{much}, which is "
        f"no better than chance (up to {finding.limit:.1%}: {finding.chance:.1%} and 3 standard errors)"
    )
    if best is not None:
        return Complaint(f"{got}: {question}", mendable=True)
    better = judging.better()
    if better is not None:
        way, accuracy = better
        kind = "an option of the architecture" if way.name.startswith("global_pool") else "the preprocessing"
        cause = f"the likely cause is {kind}: with {way.name} {accuracy:.1%} are right: {way.options}."
        return Complaint(f"{got}; {cause}", mendable=True)
    return Complaint(
        f"{got}, and neither the usual normalisations, sizes and poolings nor another order of the names mend it; the "
        "likely cause is an option of the architecture (give --model NAME,OPTION=VALUE), another --image-size, "
        "--crop-pct, --mean or --std, an order of classes that --classes must give, or weights that were trained for "
        "something else.",
        mendable=False,
    )


def _by_answers(classes: Sequence[str], finding: Finding, logits: Tensor, labels: Tensor) -> tuple[str, ...] | None:
    """The names in the order that the answers show; None where they leave it open, or the list would be a long one.

    The one class that no image was read of, as it is to be forgotten, has the output that is left.
    """
    answers = logits.argmax(dim=1)
    output_of = {move.label: move.output for move in finding.moves}
    for label in labels.unique().tolist():
        output = int(answers[labels == label].mode().values)
        if output_of.setdefault(label, output) != output:
            return None
    rest = [k for k in range(len(classes)) if k not in output_of]
    if len(classes) > LISTED or len(set(output_of.values())) != len(output_of) or len(rest) > 1:
        return None
    name_of = {output: classes[label] for label, output in output_of.items()}
    return tuple(name_of.get(output, classes[rest[0]] if rest else "") for output in range(len(classes)))


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
