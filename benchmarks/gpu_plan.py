"""Says what `gpu.py` runs, in order of worth: networks, methods, seeds; and how long each is expected to take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from unlearnkit.audit import METRICS, Metric
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS

STEPS = (  # ResNet18's ten models take ten minutes, and no method is run on it before all are there
    *("airbench", "headline", "speed", "field", "resnet18", "resnet18-headline", "resnet18-speed"),
    *("cifar100", "imagenet", "seeds", "airbench-bank", "resnet18-field", "resnet18-seeds", "small", "small-residual"),
)
FORGET, FIRST_SEED, RETRAINED = ("0",), 1000, 9
FILE_BYTES = int(15.5 * 2**20)  # of a file of weights, at most
HEADLINE = (
    *("auto", "unsir", "erase", "original", "unsir-no-noise", "finetune", "neggrad+", "delete", "scrub", "salun"),
    *("ssd", "fisher"),
)
OTHERS = (
    *("boundary-shrink", "bad-teacher", "random-label", "l1-sparse", "neggrad", "head-mask"),
    *("ct", "weight-damage", "cola", "msg", "scar", "sfron", "trew", "cmf", "lotus", "noisy-finetune"),
    *("shrink-distill", "linear-refit", "newton-removal", "projective-residual", "descent-to-delete"),
    *("lfssd", "svd-projection", "damp", "jit", "boundary-expand", "emmn", "ntk", "head-distillation", "gkt"),
    "mixed-linear",
)
RESNET = ("epochs=30", "batch_size=512", "lr=0.4", "weight_decay=0.0005", "label_smoothing=0.1", "schedule=one_cycle")

# On one H200. What results/gpu.json measured: medians of the small networks, of a method on airbench, and of a model of
# airbench (6.7 s for 16 epochs). The others are estimates from their operations, which a run's own times replace.
SECONDS = {
    "train airbench": 8.4,
    "train small": 3.0,
    "train small-residual": 4.6,
    "train resnet18": 60.0,
    "train cifar100": 8.0,
    "references airbench": 26.0,
    "references resnet18": 80.0,
    "references cifar100": 26.0,
    "method airbench": 17.3,
    "method airbench mixed-linear": 120.0,
    "method resnet18": 60.0,
    "method resnet18 mixed-linear": 900.0,
    "method cifar100": 20.0,
    "speed airbench": 60.0,
    "speed resnet18": 120.0,
    "bank airbench": 90.0,
    "imagenet timm:vit_base_patch16_224": 90.0,
    "imagenet timm:mobilenetv2_100": 60.0,
}


@dataclass(frozen=True, kw_only=True)
class Network:
    """An architecture, changes of its recipe, how many models are retrained, on which data, and what is expected of it.

    `goal` is test accuracy on the retained classes, with test-time augmentation; it is told where a model stays below.
    """

    model: str
    recipe: tuple[str, ...] = ()
    retrained: int = RETRAINED
    data: str = "cifar10"
    goal: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Shaped:
    """How much of ImageNet's shape is gone through: images and classes that are made up, and networks."""

    images: int = 20_000
    classes: int = 100
    train_images: int = 6_400
    models: tuple[str, ...] = ("timm:vit_base_patch16_224", "timm:mobilenetv2_100")


@dataclass(frozen=True, kw_only=True)
class Timed:
    """How the speed programs run: repeats, the article's numbers, and settings for all methods."""

    repeats: int = 3
    numbers: Mapping[str, int] = field(
        default_factory=lambda: {"retained": 1000, "noise": 256, "steps": 40, "times": 20}
    )
    short: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run: networks by step, methods by worth, the metrics of the audits, seeds, and what is expected of time.

    Args:
        networks: by name, which is also that of the step that trains them.
        headline, others: methods, the ones that matter most and the others.
        hundred: methods on CIFAR-100.
        changes: `NAME=VALUE` for every method that has the setting.
        seeds: after seed 0.
        seconds: by the kind of a unit, or by the first two words of it.
    """

    networks: Mapping[str, Network]
    headline: tuple[str, ...] = HEADLINE
    others: tuple[str, ...] = OTHERS
    hundred: tuple[str, ...] = ("auto", "erase", "unsir", "finetune", "delete", "original")
    metrics: Mapping[str, Metric]
    changes: tuple[str, ...] = ("fisher.samples=5000",)
    seeds: tuple[int, ...] = (1, 2)
    shaped: Shaped = Shaped()
    timed: Timed = Timed()
    seconds: Mapping[str, float] = field(default_factory=dict)


FULL = Plan(
    networks={
        "airbench": Network(model="airbench", recipe=("epochs=20",), goal=0.94),
        "resnet18": Network(model="resnet18-cifar", recipe=RESNET, goal=0.95),
        "cifar100": Network(model="airbench", retrained=3, data="cifar100"),
        "small": Network(model="airbench,width=16", recipe=("epochs=6",)),
        "small-residual": Network(model="small_residual:SmallResidual", recipe=("epochs=6",)),
    },
    metrics=METRICS,
    seconds=SECONDS,
)
SMOKE = Plan(
    networks={
        "airbench": Network(model="airbench,width=4", recipe=("epochs=1", "batch_size=50"), retrained=3, goal=1.01),
        "resnet18": Network(model="airbench,width=3", recipe=("epochs=1", "batch_size=50"), retrained=3),
        "cifar100": Network(
            model="airbench,width=2", recipe=("epochs=1", "batch_size=50"), retrained=3, data="cifar100"
        ),
        "small": Network(model="airbench,width=2", recipe=("epochs=1", "batch_size=100"), retrained=2),
        "small-residual": Network(
            model="small_residual:SmallResidual", recipe=("epochs=1", "batch_size=100"), retrained=1
        ),
    },
    headline=("original",),
    others=("finetune",),
    hundred=("original",),
    metrics={name: METRICS[name] for name in PRIMARY_METRICS},
    changes=("retain_per_class=5",),
    seeds=(1,),
    shaped=Shaped(images=40, classes=2, train_images=20, models=("small-cnn,width=4",)),
    timed=Timed(
        repeats=1,
        numbers={"retained": 8, "noise": 8, "steps": 2, "times": 2},
        short=("retain_per_class=8", "noise.batch_size=8", "noise.steps=2", "noise.repeats=2"),
    ),
)
