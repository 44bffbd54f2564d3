"""Finds methods by name (built-in ones and those of installed packages) or by the import path of their class."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.errors import ConfigError, UnlearnkitError
from unlearnkit.methods.auto import Auto
from unlearnkit.methods.bad_teacher import BadTeacher
from unlearnkit.methods.boundary_expand import BoundaryExpand
from unlearnkit.methods.boundary_shrink import BoundaryShrink
from unlearnkit.methods.cmf import CMF
from unlearnkit.methods.cola import COLA
from unlearnkit.methods.conv_transpose import ConvTranspose
from unlearnkit.methods.damp import DAMP
from unlearnkit.methods.delete import DELETE
from unlearnkit.methods.dp import DP
from unlearnkit.methods.emmn import EMMN
from unlearnkit.methods.erase.erase import Erase
from unlearnkit.methods.finetune import FineTune
from unlearnkit.methods.fisher import FisherForgetting
from unlearnkit.methods.gkt import GKT
from unlearnkit.methods.head_distillation import HeadDistillation
from unlearnkit.methods.head_mask import HeadMask
from unlearnkit.methods.jit import JiT
from unlearnkit.methods.l1_sparse import L1Sparse
from unlearnkit.methods.lfssd import LFSSD
from unlearnkit.methods.linear.descent_to_delete import DescentToDelete
from unlearnkit.methods.linear.newton_removal import NewtonRemoval
from unlearnkit.methods.linear.projective_residual import ProjectiveResidual
from unlearnkit.methods.linear.refit import LinearRefit
from unlearnkit.methods.lotus import LoTUS
from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.mixed_linear import MixedLinear
from unlearnkit.methods.msg import MSG
from unlearnkit.methods.neggrad import NegGrad
from unlearnkit.methods.neggrad_plus import NegGradPlus
from unlearnkit.methods.noisy_finetune import NoisyFineTune
from unlearnkit.methods.ntk import NTKScrubbing
from unlearnkit.methods.original import Original
from unlearnkit.methods.random_label import RandomLabel
from unlearnkit.methods.retrain import Retrain
from unlearnkit.methods.salun import SalUn
from unlearnkit.methods.scar import SCAR
from unlearnkit.methods.scrub import SCRUB
from unlearnkit.methods.sfron import SFRon
from unlearnkit.methods.shrink_distill import ShrinkDistill
from unlearnkit.methods.sisa import SISA
from unlearnkit.methods.ssd import SSD
from unlearnkit.methods.svd_projection import SVDProjection
from unlearnkit.methods.trew import TREW
from unlearnkit.methods.unsir.unsir import UNSIR
from unlearnkit.methods.weight_damage import WeightDamage
from unlearnkit.plugins import Plugins, import_path


def _by_name(*kinds: type[ConfiguredMethod]) -> dict[str, type[ConfiguredMethod]]:
    """Return the classes by their `name`.

    Raises:
        ConfigError: two of them have the same.
    """
    found: dict[str, type[ConfiguredMethod]] = {}
    for kind in kinds:
        if kind.name in found:
            raise ConfigError(
                f"Expected a name of its own for each method, but {found[kind.name].__name__} and {kind.__name__} are "
                f"both named {kind.name!r}; rename one."
            )
        found[kind.name] = kind
    return found


METHODS = _by_name(  # in the order of `unlearnkit methods`
    Auto,
    UNSIR,
    Erase,
    ShrinkDistill,
    Retrain,
    Original,
    HeadMask,
    FineTune,
    NegGrad,
    NegGradPlus,
    RandomLabel,
    L1Sparse,
    FisherForgetting,
    SSD,
    SCRUB,
    SalUn,
    BadTeacher,
    BoundaryShrink,
    DELETE,
    LFSSD,
    BoundaryExpand,
    JiT,
    ConvTranspose,
    MSG,
    WeightDamage,
    SVDProjection,
    DAMP,
    HeadDistillation,
    SCAR,
    LoTUS,
    SFRon,
    CMF,
    COLA,
    TREW,
    NoisyFineTune,
    GKT,
    EMMN,
    NTKScrubbing,
    MixedLinear,
    LinearRefit,
    NewtonRemoval,
    ProjectiveResidual,
    DescentToDelete,
)

# Methods that serve only some models (trained in shards, without BatchNorm): never proposed for others, and no part of
# `METHODS`, all of which take any classifier.
CONDITIONAL = _by_name(SISA, DP)


def _checked(found: object, place: str) -> type[ConfiguredMethod]:
    """Return what another package registers as a method, if the command line can run it.

    Raises:
        ConfigError: it is no class, no ConfiguredMethod, lacks `needs` or `run`, or has a setting without a default.
    """
    wish = f"Expected a subclass of unlearnkit.methods.method.ConfiguredMethod at {place}, but"
    if not isinstance(found, type):
        raise ConfigError(f"{wish} got {type(found).__name__}; name the class itself.")
    if not issubclass(found, ConfiguredMethod):
        lacking = [part for part in ("needs", "run") if not hasattr(found, part)]
        why = f"has no {' and no '.join(lacking)}" if lacking else "is none, though it has needs and run"
        raise ConfigError(f"{wish} {found.__name__} {why}; from Python, unlearn() takes any object that has both.")
    if found.__abstractmethods__:
        raise ConfigError(
            f"{wish} {found.__name__} has no {' and no '.join(sorted(found.__abstractmethods__))}; define it."
        )
    try:
        found()
    except UnlearnkitError as error:
        raise ConfigError(
            f"{wish} {found.__name__} cannot be built without settings ({error}); give each a default."
        ) from error
    return found


PLUGINS: Plugins[type[ConfiguredMethod]] = Plugins(
    group="unlearnkit.methods", what="method", builtin={**METHODS, **CONDITIONAL}, error=ConfigError, check=_checked
)


def make_method(name: str, preset: str = "default", settings: Sequence[str] = ()) -> ConfiguredMethod:
    """Build a method from its name, a preset and `NAME=VALUE` settings.

    Args:
        name: see `method_kind`.
        preset: one of its presets.
        settings: applied on top.

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

    Args:
        name: one of `METHODS` or `CONDITIONAL`, one that an installed package adds, or `package.module:Class`. The
            latter is imported, which runs its code: only a name that the user gave belongs here, never one that was
            read from a file.

    Raises:
        ConfigError: the name is unknown, or what it means cannot be imported or is no method.
    """
    if name in METHODS:
        return METHODS[name]
    if name in CONDITIONAL:
        return CONDITIONAL[name]
    if ":" in name:
        form = "package.module:Class"
        return _checked(import_path(name, what="a method", form=form, error=ConfigError), name)
    foreign = PLUGINS.names()
    if name not in foreign:
        raise ConfigError(
            f"Expected one of the methods {', '.join([*METHODS, *CONDITIONAL, *foreign])}, but got {name!r}; "
            "choose one of them, or write package.module:Class."
        )
    return PLUGINS.load(name)
