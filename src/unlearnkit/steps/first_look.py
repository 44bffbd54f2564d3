"""Runs a few hundred retained training images through foreign weights before any work, and refuses what cannot fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from unlearnkit.data import AccessLog
from unlearnkit.data.preprocessing import Origin
from unlearnkit.errors import ConfigError
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.steps.case import Case
from unlearnkit.steps.complaint import complaint_of
from unlearnkit.steps.feeding import feeding_line
from unlearnkit.steps.judging import Examined, Judging
from unlearnkit.steps.plausible import Finding

GOOD = 0.8  # accuracy from which nobody asks whether another way to feed images would do better


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


def first_look(
    case: Case,
    *,
    retrained: Sequence[tuple[Checkpoint, nn.Module]] = (),
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> FirstLook:
    """Refuse weights of a case that plainly do not belong to the data and the way it is fed; see `look_at`.

    Args:
        case: with the original; `case.spec.trust_inputs` goes on whatever is found.
        retrained: models that the case is judged by, which are looked at in the same way.
        runtime: device and precision.
        progress: see `look_at`.

    Returns:
        what was found of the original, with the images that were read for any of them.

    Raises:
        ConfigError: see `look_at`.
    """
    subject = Examined.of(case)
    found = look_at(subject, runtime=runtime, progress=progress)
    for checkpoint, model in retrained:
        other = replace(subject, model=model, checkpoint=checkpoint, name=f"the retrained weights {checkpoint.path}")
        found.access.include(look_at(other, runtime=runtime, progress=progress).access)
    return found


def look_at(subject: Examined, *, runtime: Runtime | None = None, progress: Progress | None = None) -> FirstLook:
    """Refuse weights that plainly do not belong to the data and the way it is fed.

    Weights with a card of ours say themselves what they belong to, and are not looked at. Of others a seeded draw of
    retained training images, of all classes alike, is run through the model. No image of a class to forget is read.
    Before training, weights for something else are warned of, and only what an option mends is refused.

    Args:
        subject: the weights.
        runtime: device and precision.
        progress: where it is said how images are fed, if they are refused; who goes on says so when work begins.

    Raises:
        ConfigError: the answers are no better than chance, or outputs hold the images of other classes.
    """
    progress, access = progress or Silent(), AccessLog(subject.data)
    rows = subject.split[Part.RETAIN_TRAIN]
    if subject.checkpoint.card is not None or not len(rows):
        return FirstLook(finding=None, complaint=None, access=access)
    runtime = (runtime or Runtime()).alone()
    network = copy.deepcopy(subject.model)
    runtime = runtime.fitted(network, subject.data.shape, exact=True)
    network = runtime.weights(network)
    judging = Judging(subject=subject, network=network, runtime=runtime, access=access)
    finding = judging.found
    complaint = None if finding.kind == "fits" else complaint_of(subject, judging)
    doubt = complaint is None and finding.accuracy < GOOD and not _is_own(subject)
    if complaint is None and doubt and (better := judging.better()) is not None:
        way, accuracy = better
        progress.say(
            f"warning: of {finding.images} retained training images {finding.accuracy:.1%} are right, and with "
            f"{way.name} about {accuracy:.1%}: if the model was trained so, {way.options}."
        )
    if complaint is not None and (subject.trusted or (subject.learns and not complaint.mendable)):
        why = "--trust-inputs is given" if subject.trusted else "training can mend it"
        progress.say(f"warning: {complaint.text} It goes on, as {why}.")
    elif complaint is not None:
        progress.say(feeding_line(subject.data, subject.classes_origin))
        raise ConfigError(f"{complaint.text} --trust-inputs goes on as it is.")
    return FirstLook(finding=finding, complaint=complaint.text if complaint else None, access=access)


def _is_own(subject: Examined) -> bool:
    """Whether size and normalisation are all the model's own, which nobody need doubt."""
    return all(subject.data.origins.get(name) is Origin.ZOO for name in ("size", "mean", "std"))
