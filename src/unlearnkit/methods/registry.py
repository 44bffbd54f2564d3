"""The registry of methods: every method by its name."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.errors import ConfigError
from unlearnkit.methods.bad_teacher import BadTeacher
from unlearnkit.methods.boundary_shrink import BoundaryShrink
from unlearnkit.methods.delete import DELETE
from unlearnkit.methods.finetune import FineTune
from unlearnkit.methods.fisher import FisherForgetting
from unlearnkit.methods.head_mask import HeadMask
from unlearnkit.methods.l1_sparse import L1Sparse
from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.neggrad import NegGrad
from unlearnkit.methods.neggrad_plus import NegGradPlus
from unlearnkit.methods.original import Original
from unlearnkit.methods.random_label import RandomLabel
from unlearnkit.methods.retrain import Retrain
from unlearnkit.methods.salun import SalUn
from unlearnkit.methods.scrub import SCRUB
from unlearnkit.methods.ssd import SSD
from unlearnkit.methods.unsir.unsir import UNSIR

METHODS: dict[str, type[ConfiguredMethod]] = {
    "unsir": UNSIR,
    "retrain": Retrain,
    "original": Original,
    "head-mask": HeadMask,
    "finetune": FineTune,
    "neggrad": NegGrad,
    "neggrad+": NegGradPlus,
    "random-label": RandomLabel,
    "l1-sparse": L1Sparse,
    "fisher": FisherForgetting,
    "ssd": SSD,
    "scrub": SCRUB,
    "salun": SalUn,
    "bad-teacher": BadTeacher,
    "boundary-shrink": BoundaryShrink,
    "delete": DELETE,
}


def make_method(name: str, preset: str = "default", settings: Sequence[str] = ()) -> ConfiguredMethod:
    """Build a method from its name, a preset and `NAME=VALUE` settings.

    Raises:
        ConfigError: the name, the preset or a setting is unknown, or a value is refused.
    """
    kind = method_kind(name)
    presets = kind.presets()
    if preset not in presets:
        raise ConfigError(
            f"Expected one of the presets {', '.join(presets)} of {name}, but got {preset!r}; choose one of them."
        )
    return presets[preset]().with_settings(settings)


def method_kind(name: str) -> type[ConfiguredMethod]:
    """Return the class of a method by its name.

    Raises:
        ConfigError: the name is unknown.
    """
    if name not in METHODS:
        raise ConfigError(f"Expected one of the methods {', '.join(METHODS)}, but got {name!r}; choose one of them.")
    return METHODS[name]
