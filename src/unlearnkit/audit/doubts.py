"""Defines the doubts about a reading as data: a code, and the values that the code's sentence needs.

The audit decides what to doubt and writes no sentence. `report/words/` says every code in every language; adding a code
is a line here and a line in each language's `SENTENCES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Union, get_args

Code = Literal[
    # a reading without a value, and a measured reading without a verdict; `reason` is one of the codes that follow
    "unknown",
    "unresolved",
    # why something could not be measured
    "no_samples",
    "no_samples_in_both",
    "no_test_samples",
    "no_features",
    "no_head_features",
    "layer_not_finite",
    "original_not_finite",
    "unlearned_not_finite",
    "retrained_not_finite",
    "features_unusable",
    "outputs_not_finite",
    "too_few_held_out",
    "needs_original_features",
    "needs_retrained_features",
    "difference_too_small",
    "no_reference",
    "reference_unusable",
    "too_few_retained_classes",
    "no_other_retrained",
    "too_few_shadows",
    "too_few_retrained_beside",
    "certain_of_a_sample",
    "no_population",
    "no_scores",
    "no_untrained",
    "needs_forgotten_samples",
    "loss_infinite",
    "stage_stopped",
    "no_attention_layer",
    # why a measured reading is not judged
    "not_measured",
    "few_retrained",
    "samples_unknown",
    "cut_off_without_bank",
    "training_failed_here",
    "not_finite_here",
    "original_not_measured",
    "original_too_near",
    "one_more_retrained_settles",
    "more_retrained_settle",
    # doubts about a reading that has a value
    "small_sample",
    "partial",
    "partial_part",
    "few_classes",
    "probe_below_accuracy",
    "one_retrained",
    "one_reference",
    "u_lira_banks",
    "neighbour_without_retrained",
    "equal_scores",
    "one_class_predicted",
    "weights_kept",
    "weak_attack",
    "few_non_members",
    "partly_drawn",
    "censored",
    "stand_ins",
    "slowed_by_counting",
    "counted_on_one_side",
    # reasons of the verdict
    "outside_band",
    "inside_band",
    "readings_unresolved",
    "no_forgotten_data",
    "representation_unresolved",
    "outputs_and_membership_unresolved",
    "rows_without_power",
    "rows_unresolved",
    "mixed_request",
    "reading_unresolved",
    "family_not_measured",
    "judged_on_stand_ins",
    # notices: the model did not forget
    "not_forgotten_retrained",
    "not_forgotten_chance",
    "weights_unchanged",
    # the retained validation accuracy after a run (`unlearnkit.methods.safeguard`)
    "retained_accuracy_kept",
    "retained_accuracy_open",
    "retained_accuracy_lost",
    "retained_accuracy_by_heart",
    # how well a method found its way by retained classes (notes["doubt"] of a method)
    "directions_doubtful",
    # what the differential privacy of the original's training says of a request
    "request_privacy",
    "request_privacy_vacuous",
    # what can be proved of a run's result (notes["statement"] of a method)
    "statement_head",
    "statement_head_published",
    "statement_head_exact",
    "statement_head_projected",
    "statement_weights",
    # a sentence in English that has no code: the message of an error, or what a metric of another package says
    "remark",
]
Value = Union[str, int, float, Sequence[str], "Doubt", Sequence["Doubt"]]

PRIVACY = ("one", "one_delta", "rows", "epsilon", "delta", "hits", "false_alarms")
COMPARED = ("before", "after", "n", "bound", "tolerance")
PLACEHOLDERS: dict[Code, tuple[str, ...]] = {  # the values of a code; one that is not here has none
    "unknown": ("reason",),
    "unresolved": ("reason",),
    "no_samples": ("part",),
    "no_samples_in_both": ("first", "second"),
    "layer_not_finite": ("layer",),
    "outputs_not_finite": ("part",),
    "difference_too_small": ("nats",),
    "loss_infinite": ("masked", "n"),
    "stage_stopped": ("stage", "loss", "step"),
    "few_retrained": ("needed", "given"),
    "directions_doubtful": ("cosine", "least"),
    "more_retrained_settle": ("more",),
    "small_sample": ("n",),
    "partial": ("n", "whole"),
    "partial_part": ("part", "n", "whole"),
    "few_classes": ("n", "whole"),
    "probe_below_accuracy": ("probe", "accuracy"),
    "u_lira_banks": ("shadows", "retrained"),
    "weak_attack": ("share",),
    "weights_kept": ("share",),
    "few_non_members": ("n",),
    "partly_drawn": ("share",),
    "censored": ("steps",),
    "outside_band": ("readings",),
    "readings_unresolved": ("readings",),
    "representation_unresolved": ("reasons",),
    "outputs_and_membership_unresolved": ("reasons",),
    "rows_without_power": ("n", "original", "retrained"),
    "rows_unresolved": ("reasons",),
    "reading_unresolved": ("reading", "reason"),
    "not_forgotten_retrained": ("accuracy", "retrained"),
    "not_forgotten_chance": ("accuracy", "chance"),
    "retained_accuracy_kept": COMPARED,
    "retained_accuracy_open": COMPARED,
    "retained_accuracy_lost": COMPARED,
    "retained_accuracy_by_heart": COMPARED,
    "statement_head": ("epsilon", "delta", "spent", "budget", "requests"),
    "statement_head_published": ("epsilon", "delta", "publications", "together"),
    "statement_head_projected": ("span", "inputs"),
    "statement_weights": ("epsilon", "delta", "noise_to_weights"),
    "remark": ("text",),
    "request_privacy": PRIVACY,
    "request_privacy_vacuous": PRIVACY,
}
CODES: tuple[Code, ...] = get_args(Code)


@dataclass(frozen=True)
class Doubt:
    """A reason to doubt the value of a reading, or the reason why the reading has no value.

    Args:
        code: what is meant.
        values: what the code's sentence is filled in with, by placeholder: numbers, names, further doubts. JSON-ready
            once it has gone through `dataclasses.asdict`.

    Raises:
        ValueError: there is no such code, or the values are not those that it needs.

    >>> Doubt("small_sample", {"n": 36})
    Doubt(code='small_sample', values={'n': 36})
    """

    code: Code
    values: Mapping[str, Value] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.code not in CODES or set(self.values) != set(PLACEHOLDERS.get(self.code, ())):
            raise ValueError(
                f"Expected a code of unlearnkit.audit.doubts with its values, but got {self.code!r} with "
                f"{sorted(self.values)}; its values are {list(PLACEHOLDERS.get(self.code, ()))}, and a sentence of "
                "your own is Doubt('remark', {'text': ...})."
            )


def unknown(code: Code, values: Mapping[str, Value] | None = None) -> Doubt:
    """Return the doubt of a reading that has no value, for this reason."""
    return because(Doubt(code, values or {}))


def because(reason: Doubt) -> Doubt:
    """Return the doubt of a reading that has no value, where the reason is itself a doubt."""
    return Doubt("unknown", {"reason": reason})


def is_unknown(doubts: Sequence[Doubt]) -> bool:
    """Return whether one of the doubts says that the reading has no value."""
    return any(doubt.code == "unknown" for doubt in doubts)


def no_samples(part: str) -> Doubt:
    """Return the doubt of a reading for whose part of the data there are no samples."""
    return unknown("no_samples", {"part": part})


def size_doubts(n: int, sampled_from: int | None, small: int) -> list[Doubt]:
    """Return the doubts about how many samples were used: fewer than `small`, or fewer than the data has."""
    doubts = [Doubt("small_sample", {"n": n})] if n < small else []
    if sampled_from is not None and n < sampled_from:
        doubts.append(Doubt("partial", {"n": n, "whole": sampled_from}))
    return doubts
