"""Says what `gpu.py` runs: networks and their recipes, methods, audits and seeds, in full and as a smoke test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from unlearnkit.audit import METRICS, Metric
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS

STEPS = (
    *("small", "small-residual", "airbench", "methods", "resnet18", "airbench-bank", "seeds"),
    *("cifar100", "imagenet"),
)
FORGET, FIRST_SEED, BANK_MODELS = ("0",), 1000, 9
FILE_BYTES = int(15.5 * 2**20)  # of a file of weights, at most
METHODS = (
    *(
        "auto",
        "unsir",
        "unsir-no-noise",
        "erase",
        "original",
        "neggrad+",
        "finetune",
        "delete",
        "boundary-shrink",
        "ssd",
        "scrub",
    ),
    *("salun", "bad-teacher", "random-label", "l1-sparse", "neggrad", "fisher", "head-mask"),
    *("ct", "weight-damage", "cola", "msg", "scar", "sfron", "trew", "cmf", "lotus", "noisy-finetune"),
    *("shrink-distill", "mixed-linear"),
    *("linear-refit", "newton-removal", "projective-residual", "descent-to-delete"),
    *("lfssd", "svd-projection", "damp", "jit", "boundary-expand", "emmn", "ntk", "head-distillation", "gkt"),
)
RESNET = ("epochs=30", "batch_size=512", "lr=0.4", "weight_decay=0.0005", "label_smoothing=0.1", "schedule=one_cycle")


@dataclass(frozen=True, kw_only=True)
class Network:
    """An architecture, changes of its recipe, how many models are retrained, and on which data."""

    model: str
    recipe: tuple[str, ...] = ()
    retrained: int = 3
    data: str = "cifar10"


@dataclass(frozen=True, kw_only=True)
class Shaped:
    """How much of ImageNet's shape is gone through: images and classes that are made up, and networks."""

    images: int = 20_000
    classes: int = 100
    train_images: int = 6_400
    models: tuple[str, ...] = ("timm:vit_base_patch16_224", "timm:mobilenetv2_100")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run: networks by step, methods on the fast network and on ResNet18, and the metrics of the audits."""

    networks: Mapping[str, Network]
    methods: tuple[str, ...] = METHODS
    few: tuple[str, ...] = ("unsir", "unsir-no-noise", "finetune", "neggrad+", "ssd")
    metrics: Mapping[str, Metric]
    changes: tuple[str, ...] = ("fisher.samples=5000",)
    seeds: tuple[int, ...] = (1, 2)
    hundred: tuple[str, ...] = ("auto", "erase", "unsir", "finetune", "delete", "original")
    shaped: Shaped = Shaped()


FULL = Plan(
    networks={
        "small": Network(model="airbench,width=16", recipe=("epochs=6",), retrained=9),
        "small-residual": Network(model="small_residual:SmallResidual", recipe=("epochs=6",), retrained=9),
        "airbench": Network(model="airbench"),
        "resnet18": Network(model="resnet18-cifar", recipe=RESNET),
        "cifar100": Network(model="airbench", data="cifar100"),
    },
    metrics=METRICS,
)
SMOKE = Plan(
    networks={
        "small": Network(model="airbench,width=2", recipe=("epochs=1", "batch_size=100"), retrained=2),
        "small-residual": Network(
            model="small_residual:SmallResidual", recipe=("epochs=1", "batch_size=100"), retrained=1
        ),
        "airbench": Network(model="airbench,width=4", recipe=("epochs=1", "batch_size=50")),
        "resnet18": Network(model="airbench,width=3", recipe=("epochs=1", "batch_size=50")),
        "cifar100": Network(model="airbench,width=2", recipe=("epochs=1", "batch_size=50"), data="cifar100"),
    },
    methods=("original", "finetune"),
    few=("original",),
    metrics={name: METRICS[name] for name in PRIMARY_METRICS},
    changes=("retain_per_class=5",),
    seeds=(1,),
    hundred=("original",),
    shaped=Shaped(images=40, classes=2, train_images=20, models=("small-cnn,width=4",)),
)
