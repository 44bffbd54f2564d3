"""A method whose data is not there is refused before anything runs; the registry says what each method takes."""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from canonical import CLASSES, CPU, MODELS, cheap, tiny_data
from canonical import METHODS as SETTINGS
from commands import run_cli
from unlearnkit.cli.show import show_result
from unlearnkit.data import ImageData
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.methods import UNSIR, Context, HeadMask, NegGrad, NegGradPlus, Original, unlearn
from unlearnkit.methods.cards import describe_methods
from unlearnkit.methods.parts import check_parts
from unlearnkit.methods.registry import CONDITIONAL, METHODS
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.models.metadata import ModelCard
from unlearnkit.request import ForgetRequest
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.split import Part, Side, split_for

READERS = [name for name, kind in METHODS.items() if Part.FORGET_TRAIN in kind().needs]


class Greedy:
    """A method of a caller's own that must not start."""

    needs = frozenset({Part.RETAIN_TRAIN, Part.FORGET_TEST})

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        raise AssertionError("the method must not start")


def only(*classes: str) -> ImageData:
    """Data that holds these classes alone, under the model's class list."""
    return tiny_data(classes=classes).with_classes(CLASSES)


def refusal(method: Any, data: ImageData, *earlier: str) -> str:
    """What is said where dog is to be forgotten and data is missing; nothing may have been read."""
    request = ForgetRequest(classes=("dog",), already_forgotten=earlier)
    with pytest.raises(DataError) as error:
        unlearn(MODELS["cnn-grey"].model(), method, data, request, seed=0, runtime=CPU)
    assert not data.train.decoded.any()
    assert not data.test.decoded.any()
    return str(error.value)


def proposals(said: str) -> set[str]:
    """Methods that a refusal names instead."""
    proposed = re.search(r"or choose a method that does without \((.*)\)\.$", said)
    assert proposed, said
    return set(proposed[1].split(", "))


@pytest.mark.parametrize("name", READERS)
def test_a_method_without_its_forget_data_is_told_what_is_missing_and_what_would_do(name: str) -> None:
    said = refusal(METHODS[name](), only(*CLASSES[:3]))
    assert f"samples in forget_train, which {name} reads" in said
    others = proposals(said)
    assert {"unsir", "retrain", "finetune"} <= others
    assert others.isdisjoint({*READERS, "original", "head-mask"})  # neither those that cannot nor those that do nothing


@pytest.mark.parametrize("name", [name for name in METHODS if Part.RETAIN_TRAIN in METHODS[name]().needs])
def test_a_method_without_its_retained_data_is_told_what_is_missing_and_what_would_do(name: str) -> None:
    said = refusal(METHODS[name](), only("dog"))
    assert f"samples in retain_train, which {name} reads" in said
    assert proposals(said) == {
        *{"neggrad", "boundary-shrink", "delete", "random-label with retain=false"},
        *{"boundary-expand", "jit", "gkt", "emmn"},
    }


def test_retained_classes_that_nothing_keeps_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    request, model = ForgetRequest(classes=("dog",)), MODELS["cnn-grey"].model()
    kept = [name for name in CLASSES if name != "dog"]
    for name, absent in (("finetune", kept[1:]), ("neggrad", None)):
        result = unlearn(model, SETTINGS[name].method, only("dog", kept[0]), request, seed=0, runtime=CPU)
        assert result.notes.get("no_samples_of") == absent
    whole = unlearn(model, SETTINGS["finetune"].method, only(*CLASSES), request, seed=0, runtime=CPU)
    assert "no_samples_of" not in whole.notes
    show_result({"notes": result.notes | {"no_samples_of": ["bee"]}, "out": "x"})
    assert "warning: no training samples of bee" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [
        *["original", "head-mask", "neggrad", "random-label:forget-only", "boundary-shrink", "delete", "delete:paper"],
        *["boundary-expand", "jit", "emmn"],
    ],
)
def test_a_method_that_reads_no_retained_data_runs_where_it_is_gone(name: str) -> None:
    entry, model, data = SETTINGS[name], MODELS["cnn-grey"].model(), only("dog")
    result = unlearn(model, entry.method, data, ForgetRequest(classes=("dog",)), seed=0, runtime=CPU)
    held = {part: len(result.split[part]) for part in Part}
    assert (held[Part.RETAIN_TRAIN], held[Part.RETAIN_VAL], held[Part.RETAIN_TEST]) == (0, 0, 0)
    assert held[Part.FORGET_TRAIN] == 12
    before, after = model.state_dict(), result.model.state_dict()
    assert entry.changes in (None, any(not torch.equal(after[key], value) for key, value in before.items()))
    read = 12 if entry.reads_forget else 0
    assert result.access.forget_samples_read(result.split) == int(data.train.decoded.sum()) == read
    assert not data.test.decoded.any()


def test_the_shape_is_that_of_a_class_to_forget_only_where_nothing_else_is_left() -> None:
    """These images tell their type by their pixels alone, so whose shape is taken counts as decoded."""
    for train, test, expected in (
        (only("ant", "dog"), only("bee", "dog"), {("train", "ant")}),
        (only("dog"), only("bee", "dog"), {("test", "bee")}),
        (only("dog"), only("dog"), {("train", "dog")}),
        (only("ant"), only("dog"), {("test", "dog")}),
    ):
        data = replace(train, test=test.test)
        data.train.dtype = data.test.dtype = None
        # ant is not retained in the last case, but forgotten earlier: its rows are for nobody
        earlier = ("ant",) if expected == {("test", "dog")} else ()
        request = ForgetRequest(classes=("dog",), already_forgotten=earlier)
        model = MODELS["cnn-grey"].model()
        result = unlearn(model, Original(), data, request, seed=0, runtime=CPU, tolerance=None)
        sides: tuple[Side, ...] = ("train", "test")
        decoded = [(side, CLASSES[k]) for side in sides for k in data.labels(side)[data.set(side).decoded].tolist()]
        assert len(decoded) == 1
        assert set(decoded) == expected
        summary: Any = result.access.summary(result.split)
        assert summary["forget_samples_decoded"] == sum(name == "dog" for _, name in decoded)
        assert summary["forget_samples_read"] == 0


def test_a_method_of_the_callers_own_is_checked_too() -> None:
    said = refusal(Greedy(), only(*CLASSES[:3]))
    assert "samples in forget_test, which Greedy reads" in said


def test_every_missing_part_is_named() -> None:
    """All that is left was forgotten earlier."""
    said = refusal(NegGradPlus(), only("ant"), "ant")
    assert "samples in retain_train and forget_train, which neggrad+ reads" in said
    assert said.endswith("no method does without.")
    assert "retain_train and forget_test, which Greedy reads" in refusal(
        Greedy(), replace(only("dog"), test=only("ant").test)
    )
    assert "to read the image shape from" in refusal(HeadMask(), only("ant"), "ant")


def test_validation_samples_may_be_missing() -> None:
    split = split_for(ForgetRequest(classes=("dog",)), tiny_data(), val_fraction=0)
    assert Part.RETAIN_VAL in UNSIR().needs
    assert len(split[Part.RETAIN_VAL]) == 0
    check_parts(UNSIR(), split)
    check_parts(NegGrad(), split)


def untrained(folder: Path, *classes: str) -> Path:
    """Weights of a small CNN for these classes."""
    card = ModelCard(
        model="small-cnn", classes=classes, forgotten=(), shape=(3, 12, 12),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), channels=3),
    )  # fmt: skip
    (folder / "w.safetensors").write_bytes(checkpoint_bytes(SmallCNN(len(classes), 3), card))
    return folder / "w.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if name != "unsir"])
def test_every_method_runs_from_the_command_line_and_its_weights_load(
    parquet_folder: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    folder, out = parquet_folder(per_class=8), tmp_path / "out"
    weights = untrained(tmp_path, "red", "green", "blue", "grey")
    settings = [part for setting in cheap(METHODS[method]()) for part in ("--set", setting)]
    done = run_cli(
        "forget", "--weights", weights, "--data", f"parquet:{folder}", "--forget", "blue", "--method", method,
        "--out", out, "--device", "cpu", "--no-audit", "--quiet", *settings,
    )  # fmt: skip
    assert done.code == 0, done.err
    read = json.loads((out / "access.json").read_text())["forget_samples_read"]
    assert read == (8 if method in READERS else 0)
    plain = SmallCNN(4, 3)
    read_checkpoint(out / WEIGHTS).load_into(plain)
    assert plain(torch.zeros(1, 3, 12, 12)).shape == (1, 4)


@pytest.mark.parametrize("method", ["neggrad", "random-label"])
def test_the_command_line_refuses_it_and_writes_nothing(
    parquet_folder: Callable[..., Path], tmp_path: Path, method: str
) -> None:
    folder = parquet_folder(per_class=4)
    weights = untrained(tmp_path, "red", "green", "blue", "grey", "gone")
    before = sorted(tmp_path.rglob("*"))
    done = run_cli(
        "forget", "--weights", weights, "--data", f"parquet:{folder}", "--forget", "gone", "--method", method,
        "--out", tmp_path / "out", "--device", "cpu", "--track", "tensorboard",
    )  # fmt: skip
    assert (done.code, done.out) == (2, "")
    assert f"Expected samples in forget_train, which {method} reads" in done.err
    assert "unsir" in done.err
    assert "Traceback" not in done.err
    assert sorted(tmp_path.rglob("*")) == before


CARD_PARTS = ("Idea", "Update", "Reads", "Hyperparameters", "Cost per run", "Deviations", "When it fails", "Source")


def test_every_card_has_its_paragraphs_and_every_setting_its_sentence() -> None:
    described = {each["name"]: each for each in describe_methods()}
    assert list(described) == [*METHODS, *CONDITIONAL]
    for name, kind in (METHODS | CONDITIONAL).items():
        card = inspect.getdoc(inspect.getmodule(kind)) or ""
        for part in CARD_PARTS:
            held = [p for p in card.split("\n\n") if re.match(rf"{part}( [a-z ]+)?[.:] \S", p)]
            assert len(held) == 1, (name, part)
            if part == "Idea":
                assert len(re.findall(r"\w[^\w\s]*\.(?=\s|$)", held[0].removeprefix("Idea. "))) >= 3, name
            if part == "Source" and "paper" in kind.presets():
                assert re.search(r"arXiv \d{4}\.\d{5}", held[0]), name
            if part == "Hyperparameters" and "paper" in kind.presets():
                assert "paper()" in held[0], name
        assert described[name]["idea"] == card.splitlines()[0]
        assert described[name]["cost"], name
        assert described[name]["presets"][0] == "default"
        assert all(setting["description"] for setting in described[name]["settings"]), name
        for preset in kind.presets().values():
            assert preset().with_settings([]) == preset()


def test_a_method_is_at_most_150_lines_of_code() -> None:
    """Blank lines, comments and docstrings do not count."""
    for name, kind in (METHODS | CONDITIONAL).items():
        source = inspect.getsource(sys.modules[kind.__module__])
        said: set[int] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                said |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
        code = [line.strip() for n, line in enumerate(source.splitlines(), start=1) if n not in said]
        count = sum(bool(line) and not line.startswith("#") for line in code)
        assert 10 < count <= 150, (name, count)


# ---- presets -----------------------------------------------------------------------------------------------------


def recipe(name: str = "recipe", **changes: Any) -> dict[str, Any]:
    """Every number of a published recipe: plain SGD at a constant rate, but for what is given."""
    plain = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0.2,
        "clip_value": None,
        "label_smoothing": 0.0,
        "norm_bias_lr": 1.0,
        "lookahead": False,
        "augment": "none",
        "max_shift": None,
    }
    return {f"{name}.{key}": value for key, value in (plain | changes).items()}


ALL_RETAINED = {"retain_per_class": None, "augment": True}
FISHER = {"fisher.samples": None, "fisher.chunk": None}
NOTEBOOK = {
    "retain_per_class": 1000,
    **{"noise.batch_size": 256, "noise.steps": 40, "noise.lr": 0.1, "noise.penalty": 0.1, "noise.repeats": 20},
    **{"impair.lr": 0.02, "impair.epochs": 1, "impair.batch_size": 256},
    **{"impair.optimizer": "adam", "impair.schedule": "constant"},
    **{"repair.lr": 0.01, "repair.epochs": 1, "repair.batch_size": 256},
    **{"repair.optimizer": "adam", "repair.schedule": "constant", "repair.distill": False},
    **{"rounds": 1, "augment": False, "recalibrate": False, "search": None, "quirks": False},
}
PUBLISHED: dict[tuple[str, str], dict[str, Any]] = {
    ("unsir", "paper"): NOTEBOOK,
    ("unsir", "notebook"): NOTEBOOK | {"quirks": True},
    ("finetune", "paper"): {
        **recipe(epochs=10, batch_size=256, lr=0.01, weight_decay=5e-4), **ALL_RETAINED, "last": None, "reset": False,
        "search": None,
    },
    ("neggrad", "paper"): {**recipe(epochs=5, batch_size=256, lr=1e-4), "ceiling": None, "augment": True},
    ("neggrad+", "paper"): {
        **recipe(epochs=10, batch_size=256, lr=0.01), **ALL_RETAINED, "alpha": 0.95, "ceiling": None, "repeats": None,
        "search": None,
    },
    ("l1-sparse", "paper"): {
        **recipe(epochs=10, batch_size=256, lr=0.01, weight_decay=5e-4), **ALL_RETAINED, "gamma": 5e-4, "search": None
    },
    ("fisher", "paper"): {
        **FISHER, "alpha": 1e-6, "floor": 1e-8, "fisher.labels": "model", "fisher.per_sample": "loop"
    },
    ("ssd", "paper"): {
        **FISHER, "alpha": 10.0, "ratio": 10.0, "dampening": 1.0, "fisher.labels": "true", "fisher.per_sample": "auto"
    },
    ("scrub", "paper"): {
        **recipe("ascent", epochs=1, batch_size=512, lr=5e-4, weight_decay=5e-4),
        **recipe("descent", epochs=1, batch_size=128, lr=5e-4, weight_decay=5e-4),
        **ALL_RETAINED,
        **{"rounds": 3, "max_rounds": 2, "temperature": 4.0, "alpha": 0.001, "gamma": 0.99},
    },
    ("salun", "paper"): {
        **recipe(epochs=10, batch_size=256, lr=0.013, weight_decay=5e-4), **ALL_RETAINED, "share": 0.5
    },
    ("bad-teacher", "paper"): {
        **recipe(epochs=1, batch_size=256, lr=1e-4, optimizer="adam", nesterov=True), **ALL_RETAINED, "temperature": 1.0
    },
    ("boundary-shrink", "paper"): {
        **recipe(epochs=10, batch_size=64, lr=1e-5), "bound": 0.1, "batch_statistics": True
    },
    ("delete", "paper"): {**recipe(epochs=20, batch_size=128, lr=1e-4), "batch_statistics": True},
    ("lfssd", "paper"): {
        **{"alpha": 10.0, "ratio": 8.0, "dampening": 1.0, "importance.samples": None},
        **{"importance.per_sample": "auto", "importance.chunk": None},
    },
    ("boundary-expand", "paper"): {**recipe(epochs=10, batch_size=64, lr=1e-5), "batch_statistics": True},
    ("jit", "paper"): {
        **recipe(epochs=1, batch_size=64, lr=3e-4, momentum=0.001), "sigma": 0.5, "copies": 25, "batch_statistics": True
    },
    ("ct", "paper"): {
        **recipe(epochs=3, batch_size=64, lr=1e-3, weight_decay=5e-4, schedule="cosine"), **ALL_RETAINED
    },
    ("msg", "paper"): {
        **recipe(epochs=3, batch_size=64, lr=1e-3, weight_decay=5e-4, schedule="cosine"),
        **ALL_RETAINED,
        **{"share": 0.3, "kept": 0.1},
    },
    ("weight-damage", "paper"): {
        **recipe(epochs=100, batch_size=128, lr=1e-5),
        **ALL_RETAINED,
        **{"mode": "distortion", "std": 0.02, "factor": 0.5, "rate": 0.2},
    },
    ("newton-removal", "paper"): {"epsilon": 1.0, "delta": 1e-4, "sigma": 10.0, "regularisation": 2e-4},
    ("projective-residual", "paper"): {"ridge": 1e-4},
    ("svd-projection", "paper"): {"retain_scale": 100.0, "forget_scale": 3.0, "retain_per_class": None},
    ("scar", "paper"): {
        **recipe(epochs=30, batch_size=256, lr=5e-4, optimizer="adam", nesterov=True),
        **{"retain_per_class": None, "shrinkage": 3.0, "forget_weight": 1.0, "retain_weight": 5.0},
    },
    ("sfron", "paper"): {
        **recipe("ascent", epochs=1, batch_size=256, lr=0.01, weight_decay=5e-4, clip_value=0.1),
        **recipe("descent", epochs=1, batch_size=256, lr=0.01, weight_decay=5e-4),
        **ALL_RETAINED,
        **FISHER,
        **{"fisher.labels": "true", "fisher.per_sample": "auto"},
        **{"rounds": 300, "alpha": 25.0, "power": 0.5, "threshold": 1.0, "passes": 8.5},
    },
    ("gkt", "paper"): {
        **recipe("generator", epochs=1, batch_size=256, lr=1e-3, optimizer="adam", nesterov=True),
        **recipe("student", epochs=1, batch_size=256, lr=1e-3, optimizer="adam", nesterov=True),
        **{"rounds": 4000, "student_repeats": 10, "batch_size": 256, "noise": 128, "gate": 0.01, "beta": 250.0},
    },
}  # fmt: skip


def test_every_number_of_a_published_preset_is_the_published_one() -> None:
    presets = {(name, preset) for name, kind in METHODS.items() for preset in kind.presets() if preset != "default"}
    assert presets == PUBLISHED.keys()
    for (name, preset), wanted in PUBLISHED.items():
        built = METHODS[name].presets()[preset]()
        assert {each["name"]: each["value"] for each in built.described_settings()} == wanted, (name, preset)


TOO_SMALL = {  # 12 of the 45 training samples are to be forgotten
    "unsir": "retain_per_class of at most 11",
    "ssd": "alpha below 3.75",
    "lfssd": "alpha below 3.75",
}


@pytest.mark.parametrize(("name", "preset"), PUBLISHED)
def test_a_published_preset_runs_or_says_what_it_needs(name: str, preset: str) -> None:
    model, data = MODELS["cnn-grey"].model(), tiny_data()
    published, request = METHODS[name].presets()[preset](), ForgetRequest(classes=("dog",))
    method = published.with_settings(cheap(published))  # its lengths are compared above, and are many
    options: Any = {"seed": 0, "runtime": CPU, "factory": MODELS["cnn-grey"].fresh}
    if name in TOO_SMALL:
        with pytest.raises(ConfigError, match=re.escape(TOO_SMALL[name])):
            unlearn(model, method, data, request, **options)
        return
    after = unlearn(model, method, data, request, **options).model.state_dict()
    assert any(not torch.equal(after[key], value) for key, value in model.state_dict().items())


def test_the_published_alpha_of_ssd_says_where_it_is_refused() -> None:
    assert "refused where a tenth of the data or more is forgotten" in (METHODS["ssd"].presets()["paper"].__doc__ or "")
    alpha = next(each for each in METHODS["ssd"]().described_settings() if each["name"] == "alpha")
    assert "refused where a tenth of the data or more is forgotten" in alpha["description"]
