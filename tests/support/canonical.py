"""One table of canonical settings that drives the contract tests: methods x models x requests, and tiny data.

A new method joins by its line in the registry: its cheap settings follow from the names of its settings (`cheap`).
They are not written in the method's class, as what is cheap is the tests' business and no user's. A line in `KNOWN`
makes the contract tighter: a hand count of passes, other variants, what must and must not change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.data import ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.methods import (
    DELETE,
    SCRUB,
    SSD,
    UNSIR,
    BadTeacher,
    BoundaryShrink,
    ConfiguredMethod,
    Erase,
    FineTune,
    FisherForgetting,
    HeadMask,
    L1Sparse,
    Method,
    NegGrad,
    NegGradPlus,
    Original,
    RandomLabel,
    Retrain,
    SalUn,
)
from unlearnkit.methods import METHODS as REGISTRY
from unlearnkit.methods.common.rate_search import SearchSettings
from unlearnkit.models import SmallCNN
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.recipe import Recipe

CPU = Runtime(device=torch.device("cpu"), precision="fp32")
CLASSES = ("ant", "bee", "cat", "dog")
PER_CLASS = 12  # training images of each class; one of them is held out for validation
RETAIN = 4  # retained images per class in the tiny settings
TINY = [
    f"retain_per_class={RETAIN}",
    "noise.batch_size=6",
    "noise.steps=2",
    "noise.repeats=2",
    "impair.batch_size=8",
    "impair.epochs=1",
    "repair.batch_size=8",
    "repair.epochs=1",
    "rounds=1",
]


def tiny_data(
    channels: int = 1,
    *,
    augment: str = "none",
    classes: Sequence[str] = CLASSES,
    per_class: int = PER_CLASS,
    size: int = 8,
    forbidden: Sequence[int] = (),
) -> ImageData:
    """Random images, brighter from class to class; decoding a row of a `forbidden` class fails the test."""

    def image_set(count: int, seed: int) -> ImageSet:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(len(classes)).repeat_interleave(count)
        labels = labels[torch.randperm(len(labels), generator=generator)]
        noise = torch.randint(0, 120, (len(labels), channels, size, size), generator=generator)
        pixels = (noise + 135 * labels[:, None, None, None] // len(classes)).to(torch.uint8)

        def decode(rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
            touched = set(labels[list(rows)].tolist()) & set(forbidden)
            assert not touched, f"rows of the forbidden classes {touched} were decoded"
            return pixels[list(rows)]

        return ImageSet(labels, lambda _row: (channels, size, size), decode)

    return ImageData(
        source="tiny",
        classes=tuple(classes),
        train=image_set(per_class, 1),
        test=image_set(max(1, per_class // 3), 2),
        preprocessing=Preprocessing(mean=(0.5,) * channels, std=(0.25,) * channels),
        augment=augment,
    )


class TinyViT(nn.Module):
    """A Vision Transformer of one block: LayerNorm, attention and dropout, no BatchNorm."""

    def __init__(self, num_classes: int, in_channels: int = 1, dim: int = 16, dropout: float = 0.2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, dim, 4, stride=4)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        self.position = nn.Parameter(0.1 * torch.randn(1, 5, dim))
        self.block = nn.TransformerEncoderLayer(
            dim, nhead=2, dim_feedforward=24, dropout=dropout, batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], dim=1) + self.position
        return self.head(self.norm(self.block(tokens)[:, 0]))


def new_cnn(channels: int) -> nn.Module:
    return SmallCNN(len(CLASSES), channels, width=4)


def new_vit(channels: int) -> nn.Module:
    return TinyViT(len(CLASSES), channels)


@cache
def learned() -> nn.Module:
    """A small network that has learned the tiny images."""
    torch.manual_seed(0)
    model, data = new_cnn(1).train(), tiny_data()
    data.fix_shape(0)
    images = data.normalise(data.train.images(torch.arange(len(data.train)), CPU.device))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), data.train.labels).backward()
        optimiser.step()
    return model.eval()


def small_cnn(channels: int) -> nn.Module:
    """A CNN with BatchNorm whose statistics are not at their start."""
    torch.manual_seed(7)
    model = new_cnn(channels)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def tiny_vit(channels: int) -> nn.Module:
    torch.manual_seed(7)
    return new_vit(channels).eval()


Passes = dict[str, tuple[int, int]]  # stage -> samples forward, samples backward


def unsir_passes(method: UNSIR, *, forgotten: int, channels: int, attempts: int, trials: int) -> Passes:
    """Hand count, with the numbers of TINY: 6 noise images a class, 2 steps, 2 repeats, 4 retained images a class."""
    subset = RETAIN * (len(CLASSES) - forgotten)
    learned = 6 * forgotten  # all of them pass in every step
    kept = channels * forgotten if method.quirks else learned
    passes: Passes = {"noise": (2 * learned, 2 * learned)} if method.noise else {}
    impair = (2 * kept if method.noise else 0) + subset
    asked_anew = method.repair.distill and channels == 3  # of augmented images
    teacher = subset if asked_anew else 0
    if method.repair.distill and not asked_anew:
        passes["answers"] = (subset, 0)
    passes["impair"] = (attempts * impair, attempts * impair)
    passes["repair"] = (attempts * (subset + teacher), attempts * subset)
    if method.search:
        passes["search"] = ((1 + trials + attempts) * (len(CLASSES) - forgotten), 0)  # one validation image a class
    if trials:
        assert method.search is not None
        assert impair <= method.search.steps * 8  # a trial passes all that there is
        passes["trial"] = (trials * impair, trials * impair)
    return passes


def trained_passes(
    method: Any, stage: str = "", *, epochs: int = 2, retained: bool = True, forget: int = 0, forgotten: int, **_: int
) -> Passes:
    """Hand count of one training: the retained samples that are not held out, and each forget sample `forget` times."""
    samples = retained * (PER_CLASS - 1) * (len(CLASSES) - forgotten) + forget * PER_CLASS * forgotten
    return {stage: (epochs * samples, epochs * samples)}


def searching_passes(method: FineTune, *, forgotten: int, **_: int) -> Passes:
    """A training that is searched for with one trial of one step and one attempt, each judged, as is the original."""
    passes = trained_passes(method, "finetune", forgotten=forgotten)
    return passes | {"trial": (8, 8), "search": (3 * (len(CLASSES) - forgotten), 0)}


def sizes(forgotten: int) -> tuple[int, int]:
    """Training samples of the classes to forget, and of the retained ones: one of each of those is held out."""
    return PER_CLASS * forgotten, (PER_CLASS - 1) * (len(CLASSES) - forgotten)


def fisher_passes(method: FisherForgetting, *, forgotten: int, **_: int) -> Passes:
    _forget, retain = sizes(forgotten)
    expected = method.fisher.labels == "model"  # a pass for the outputs, then one for each class
    return {"fisher": ((len(CLASSES) + 1) * retain, len(CLASSES) * retain) if expected else (retain, retain)}


def ssd_passes(method: SSD, *, forgotten: int, **_: int) -> Passes:
    forget, retain = sizes(forgotten)
    return {"fisher_forget": (forget, forget), "fisher_retain": (retain, retain)}


def scrub_passes(method: SCRUB, *, forgotten: int, **_: int) -> Passes:
    forget, retain = method.max_rounds * sizes(forgotten)[0], method.rounds * sizes(forgotten)[1]
    return {"max": (2 * forget, forget), "min": (2 * retain, retain)}  # the teacher's pass and the student's


def salun_passes(method: SalUn, *, forgotten: int, **_: int) -> Passes:
    forget, retain = sizes(forgotten)
    return {"saliency": (forget, forget), "relabel": (2 * (forget + retain), 2 * (forget + retain))}


def bad_teacher_passes(method: BadTeacher, *, forgotten: int, **_: int) -> Passes:
    both = 2 * (sizes(forgotten)[0] + 3 * (len(CLASSES) - forgotten))  # 30 % of 11 samples are 3
    return {"distil": (2 * both, both)}


def boundary_passes(method: BoundaryShrink, *, forgotten: int, **_: int) -> Passes:
    forget, _retain = sizes(forgotten)
    return {"nearest": (2 * forget, forget), "shrink": (2 * forget, 2 * forget)}


def delete_passes(method: DELETE, *, forgotten: int, **_: int) -> Passes:
    forget, _retain = sizes(forgotten)
    return {"distil": (2 * 2 * forget, 2 * forget)}


def erase_passes(method: Erase, *, forgotten: int, **_: int) -> Passes:
    subset = RETAIN * (len(CLASSES) - forgotten)
    steps = method.repair.steps * method.repair.batch_size
    passes: Passes = {"observe": (subset, 0), "erase": (subset, 0)}
    return passes | ({"repair": (2 * steps, steps)} if steps else {})


def lfssd_passes(method: Any, *, forgotten: int, **_: int) -> Passes:
    forget, retain = sizes(forgotten)
    return {"importance_forget": (forget, forget), "importance_retain": (retain, retain)}


def expand_passes(method: Any, *, forgotten: int, **_: int) -> Passes:
    forget, _retain = sizes(forgotten)
    return {"expand": (2 * forget, 2 * forget)}


def jit_passes(method: Any, *, forgotten: int, **_: int) -> Passes:
    forget, _retain = sizes(forgotten)
    return {"smooth": (3 * forget, forget)}  # each image and its two copies, which are constants


def heal_passes(method: Any, *, forgotten: int, **_: int) -> Passes:
    _forget, retain = sizes(forgotten)
    return {"heal": (retain, retain)}


def shrink_passes(method: Any, *, forgotten: int, channels: int, **_: int) -> Passes:
    subset = RETAIN * (len(CLASSES) - forgotten)
    if channels == 3:  # augmented: the teacher sees what the student sees
        return {"distil": (2 * subset, subset)}
    return {"answers": (subset, 0), "distil": (subset, subset)}


def projected_passes(method: Any, *, forgotten: int, **_: int) -> Passes:
    forget, retain = sizes(forgotten)
    kind = {"damp": "prototypes", "svd-projection": "inputs"}[method.name]
    return {f"{kind}_forget": (forget, 0), f"{kind}_retain": (retain, 0)}


def head_passes(method: Any, *, forgotten: int, **_: int) -> Passes:
    forget, retain = sizes(forgotten)
    reads_forget = any(part.forgotten for part in method.needs)
    return {"features_retain": (retain, 0)} | ({"features_forget": (forget, 0)} if reads_forget else {})


def mixed_passes(method: Any, *, forgotten: int, **_: int) -> Passes:
    """Each product counts two passes forward and one back; one of a vector of outputs alone counts as much."""
    _forget, retain = sizes(forgotten)
    products = {"slope": 2, "solve": method.iterations}
    return {"outputs": (retain, 0)} | {name: (2 * n * retain, n * retain) for name, n in products.items()}


def no_passes(method: Any, **_: int) -> Passes:
    return {}


@dataclass(frozen=True, kw_only=True)
class Canonical:
    """A method with tiny settings, and how many samples each of its stages passes.

    `passes` takes the method, `forgotten`, `channels`, `attempts` (of a search; 1 without) and `trials`, and names the
    stages it knows; other stages must merely cost something.

    Args:
        changes: whether any weight changes; None: it is not known, and not tested.
        trains: whether it trains; if not, no seed matters, and only the head may change.
        draws: whether anything is drawn at random, so that another seed gives other weights; None: as above.
        fresh: whether it starts from a new model, and so keeps nothing that the caller froze.
        whole_layers: whether it refuses a model all of whose layers have frozen weights, whatever else is free.
        shared: whether several processes share its passes; if not, each makes all of them.
    """

    method: Method
    passes: Callable[..., Passes]
    changes: bool | None = True
    trains: bool = True
    draws: bool | None = True
    fresh: bool = False
    whole_layers: bool = False
    shared: bool = True

    @property
    def reads_forget(self) -> bool:
        """Whether the method declares forget data."""
        return any(part.forgotten for part in self.method.needs)


MOST = {"epochs": 2, "steps": 2, "rounds": 2, "attempts": 2, "batch_size": 8}  # of a setting whose name ends so


def cheap(method: ConfiguredMethod) -> list[str]:
    """`NAME=VALUE` settings that make a method fast, found by the names of its settings."""
    settings = ((each["name"], each["value"]) for each in method.described_settings())
    limits = ((name, value, MOST.get(name.rpartition(".")[2])) for name, value in settings)
    return [f"{name}={most}" for name, value, most in limits if most and isinstance(value, int) and value > most]


def tiny(name: str, *settings: str, passes: Callable[..., Passes] = no_passes, **facts: Any) -> Canonical:
    """A method's entry with cheap settings and these on top."""
    method = REGISTRY[name]()
    return Canonical(method=method.with_settings([*cheap(method), *settings]), passes=passes, **facts)


STEPS = Recipe(epochs=2, batch_size=8, lr=0.01)
STEP = Recipe(epochs=1, batch_size=8, lr=0.01)


KNOWN: dict[str, Canonical] = {
    "auto": tiny("auto", f"erase.retain_per_class={RETAIN}", draws=None, shared=False),
    "unsir": Canonical(method=UNSIR().with_settings(TINY), passes=unsir_passes),
    "unsir:paper": Canonical(method=UNSIR.paper().with_settings(TINY), passes=unsir_passes),
    "unsir:notebook": Canonical(method=UNSIR.notebook().with_settings(TINY), passes=unsir_passes),
    "unsir:no-noise": Canonical(
        method=UNSIR()
        .with_settings([s for s in TINY if not s.startswith("noise.")])
        .model_copy(update={"noise": None}),
        passes=unsir_passes,
    ),
    "erase": Canonical(
        method=Erase(retain_per_class=RETAIN, start=0.3, level=0.0), passes=erase_passes, whole_layers=True
    ),
    "erase:repair": Canonical(
        method=Erase(retain_per_class=RETAIN, start=0.3, rows=0).with_settings(
            ["repair.steps=2", "repair.batch_size=8"]
        ),
        passes=erase_passes,
        whole_layers=True,
    ),
    "retrain": Canonical(
        method=Retrain(epochs=2, batch_size=8), passes=partial(trained_passes, stage="retrain"), fresh=True
    ),
    "original": Canonical(method=Original(), passes=no_passes, changes=False, trains=False, draws=False),
    "head-mask": Canonical(method=HeadMask(), passes=no_passes, trains=False, draws=False),
    "finetune": Canonical(method=FineTune(search=None, recipe=STEPS), passes=partial(trained_passes, stage="finetune")),
    "finetune:cf-k": Canonical(
        method=FineTune(search=None, recipe=STEPS, last=2), passes=partial(trained_passes, stage="finetune")
    ),
    "finetune:eu-k": Canonical(
        method=FineTune(search=None, recipe=STEPS, last=2, reset=True), passes=partial(trained_passes, stage="finetune")
    ),
    "finetune:searching": Canonical(
        method=FineTune(search=SearchSettings(trials=1, steps=1, attempts=1), recipe=STEPS), passes=searching_passes
    ),
    "neggrad": Canonical(
        method=NegGrad(recipe=STEPS), passes=partial(trained_passes, stage="ascend", retained=False, forget=1)
    ),
    "neggrad+": Canonical(
        method=NegGradPlus(search=None, recipe=STEPS, repeats=3),
        passes=partial(trained_passes, stage="contrast", forget=3),
    ),
    "random-label": Canonical(
        method=RandomLabel(recipe=STEPS), passes=partial(trained_passes, stage="relabel", forget=1)
    ),
    "random-label:forget-only": Canonical(
        method=RandomLabel(recipe=STEPS, retain=False),
        passes=partial(trained_passes, stage="relabel", retained=False, forget=1),
    ),
    "l1-sparse": Canonical(
        method=L1Sparse(search=None, recipe=STEPS), passes=partial(trained_passes, stage="sparsify")
    ),
    "fisher": Canonical(method=FisherForgetting(), passes=fisher_passes),
    "fisher:paper": Canonical(method=FisherForgetting.paper(), passes=fisher_passes),
    "ssd": Canonical(method=SSD(ratio=1.1), passes=ssd_passes, draws=False),
    "scrub": Canonical(method=SCRUB(ascent=STEP, descent=STEP), passes=scrub_passes),
    "salun": Canonical(method=SalUn(recipe=STEPS), passes=salun_passes),
    "bad-teacher": Canonical(method=BadTeacher(recipe=STEPS), passes=bad_teacher_passes),
    "boundary-shrink": Canonical(method=BoundaryShrink(recipe=STEPS), passes=boundary_passes),
    "delete": Canonical(method=DELETE(recipe=STEPS), passes=delete_passes),
    "delete:paper": Canonical(method=DELETE(recipe=STEPS, batch_statistics=True), passes=delete_passes),
    "lfssd": Canonical(method=REGISTRY["lfssd"]().with_settings(["ratio=1.1"]), passes=lfssd_passes, draws=False),
    "boundary-expand": tiny("boundary-expand", passes=expand_passes),
    "jit": tiny("jit", "copies=2", "recipe.epochs=1", passes=jit_passes),
    "ct": tiny("ct", "recipe.epochs=1", passes=heal_passes, whole_layers=True),
    "msg": tiny("msg", "recipe.epochs=1", passes=heal_passes, whole_layers=True),
    "weight-damage": tiny("weight-damage", "recipe.epochs=1", passes=heal_passes),
    "shrink-distill": tiny(
        "shrink-distill", "repair.epochs=1", f"retain_per_class={RETAIN}", "search=none", passes=shrink_passes
    ),
    "shrink-distill:searching": tiny("shrink-distill", "repair.epochs=1", f"retain_per_class={RETAIN}"),
    "svd-projection": tiny("svd-projection", passes=projected_passes, draws=None, whole_layers=True, shared=False),
    "damp": tiny("damp", passes=projected_passes, draws=None, whole_layers=True, shared=False),
    "head-distillation": tiny("head-distillation", "recipe.epochs=1", trains=False),
    "gkt": tiny("gkt", "noise=4", "student_repeats=1", "gate=1", "rounds=1", fresh=True, shared=False),
    "emmn": tiny("emmn", "noise.batch_size=4", "noise.steps=1"),
    "noisy-finetune": tiny("noisy-finetune", "recipe.epochs=1", "lr=0.5"),
    "cola": tiny("cola", "collapse.epochs=1", "align.epochs=1", shared=False),
    "sfron": tiny("sfron", "rounds=1", "passes=1"),
    "ntk": tiny("ntk", "per_class=12", draws=False, shared=False),
    "mixed-linear": tiny("mixed-linear", "iterations=2", passes=mixed_passes, shared=False),
    "linear-refit": tiny("linear-refit", passes=head_passes, trains=False, draws=False),
    "newton-removal": tiny("newton-removal", passes=head_passes, trains=False),
    "projective-residual": tiny("projective-residual", passes=head_passes, trains=False, draws=False),
    "descent-to-delete": tiny("descent-to-delete", "regularisation=0.1", passes=head_passes, trains=False),
}


def derived(kind: type[ConfiguredMethod]) -> Canonical:
    """The entry of a method of which nothing is written down here."""
    method = kind().with_settings(cheap(kind()))
    return Canonical(method=method, passes=no_passes, changes=None if kind.control else True, draws=None)


METHODS: dict[str, Canonical] = KNOWN | {name: derived(kind) for name, kind in REGISTRY.items() if name not in KNOWN}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A model and the images it takes."""

    build: Callable[[int], nn.Module]
    factory: Callable[[int], nn.Module]
    channels: int
    augment: str = "none"

    def model(self) -> nn.Module:
        """A fresh model, the same every time."""
        return self.build(self.channels)

    def fresh(self) -> nn.Module:
        """A model of the same architecture, another every time."""
        return self.factory(self.channels)

    def data(self, **options: Any) -> ImageData:
        """Fresh data, none of it decoded yet."""
        return tiny_data(self.channels, augment=self.augment, **options)


MODELS: dict[str, Setting] = {
    "cnn-grey": Setting(build=small_cnn, factory=new_cnn, channels=1),
    "cnn-colour": Setting(build=small_cnn, factory=new_cnn, channels=3, augment="crop_flip"),
    "vit-grey": Setting(build=tiny_vit, factory=new_vit, channels=1),
    "vit-colour": Setting(build=tiny_vit, factory=new_vit, channels=3, augment="crop_flip"),
}

REQUESTS: dict[str, tuple[int, ...]] = {"one": (2,), "several": (1, 3)}
