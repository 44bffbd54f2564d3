"""Names the settings that banks are measured in: data, architecture, recipe, and the classes that are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODELS = 9  # retrained ones of a setting, the fewest that a bank is made of
BUNDLED = "digits"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: an original and nine or more retrained models, all trained alike but for seed and excluded classes.

    Args:
        name: of the bank.
        data: `digits`, or a folder of the benchmarks' data.
        model: architecture with its options.
        forget: ids of the classes that the retrained models never see.
        recipe: changes of the architecture's recipe.
        original: setting whose original this one shares; None: it has its own.
        references: file in `references/` that holds the models, instead of training them.
        models: how many retrained models.
        image_size: pixels that images are scaled to; None: as they are.
    """

    name: str
    data: str
    model: str
    forget: Sequence[int]
    recipe: Sequence[str] = ()
    original: str | None = None
    references: str | None = None
    models: int = MODELS
    image_size: int | None = None

    def source(self, data: Path) -> str:
        """Return the data source of the setting; `data` is the folder of the benchmarks' data sets."""
        return BUNDLED if self.data == BUNDLED else f"parquet:{data / self.data}"


_ALL = (
    Setting(name="digits", data=BUNDLED, model="small-cnn", forget=(3,), models=12),
    Setting(name="digits-odd", data=BUNDLED, model="small-cnn", forget=(1, 3, 5, 7, 9), original="digits", models=12),
    Setting(
        name="digits-narrow", data=BUNDLED, model="small-cnn,width=8", forget=(3,), recipe=("epochs=15",), models=12
    ),
    Setting(name="digits-mlp", data=BUNDLED, model="small_mlp:SmallMLP", forget=(0, 1, 2, 3, 4), models=12),
    Setting(name="digits-mlp-pair", data=BUNDLED, model="small_mlp:SmallMLP", forget=(2, 7), models=12),
    Setting(name="digits-pair", data=BUNDLED, model="small-cnn,width=16", forget=(4, 9), models=12),
    Setting(
        name="cifar10-airbench16",
        data="cifar10",
        model="airbench,width=16",
        forget=(0,),
        recipe=("epochs=6",),
        references="small.safetensors",
    ),
    Setting(
        name="cifar10-residual",
        data="cifar10",
        model="small_residual:SmallResidual",
        forget=(0,),
        references="small-residual.safetensors",
    ),
    Setting(  # without BatchNorm
        name="cifar10-group",
        data="cifar10",
        model="small-cnn,norm=group,width=16",
        forget=(5,),
        recipe=("epochs=5", "batch_size=128", "optimizer=adam", "lr=0.004", "schedule=one_cycle"),
        image_size=24,
    ),
    Setting(
        name="cifar100-1",
        data="cifar100",
        model="airbench,width=16",
        forget=(8,),
        recipe=("epochs=4", "batch_size=128", "lr=0.6", "label_smoothing=0.1", "norm_bias_lr=16"),
        image_size=24,
    ),
    Setting(
        name="cifar100-20",
        data="cifar100",
        model="airbench,width=16",
        forget=tuple(range(20)),
        recipe=("epochs=4", "batch_size=128", "lr=0.6", "label_smoothing=0.1", "norm_bias_lr=16"),
        original="cifar100-1",
        image_size=24,
    ),
    Setting(
        name="faces",
        data="faces_lfw158",
        model="airbench,width=16",
        forget=(35,),  # the person with the most pictures, 371 to learn from and 159 to test
        recipe=("epochs=40", "batch_size=32", "lr=0.2", "label_smoothing=0.1", "norm_bias_lr=8"),
        image_size=24,
    ),
)
SETTINGS = {setting.name: setting for setting in _ALL}
