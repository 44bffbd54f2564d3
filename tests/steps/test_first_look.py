"""The first look: foreign weights that do not belong to the data are refused, with the cause and the option."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from commands import WEIGHTS, assert_refused, run_cli
from comparison_runs import Bench
from trained_once import CPU, NARROW
from unlearnkit.data import ImageData
from unlearnkit.data.preprocessing import Origin
from unlearnkit.data.sources.registry import load_data
from unlearnkit.errors import ConfigError, WeightsError
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import read_json
from unlearnkit.steps.audit import audit_folder, audit_pair
from unlearnkit.steps.auditing import AuditOptions, Depth
from unlearnkit.steps.case import Case
from unlearnkit.steps.feeding import feeding_line
from unlearnkit.steps.first_look import first_look, look_at
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.judging import Examined, Judging
from unlearnkit.steps.opening import InputOptions
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import CaseSpec, SearchSpec, TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.steps.tune import tune_run

QUICK = AuditOptions(depth=Depth.QUICK)
HEAD_MASK = MethodChoice("head-mask")


class Said:
    """A Progress that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, name: str, total: int) -> None: ...
    def advance(self, detail: str = "") -> None: ...
    def finish(self) -> None: ...
    def say(self, text: str) -> None:
        self.lines.append(text)


def foreign(trained: Path, out: Path, order: list[int] | None = None) -> Path:
    """Write weights of ours as another tool would: a state dict alone, its outputs in another order."""
    state = dict(read_checkpoint(trained / WEIGHTS).state)
    if order is not None:
        last = [name for name in state if name.endswith("weight")][-1].removesuffix("weight")
        for name in (f"{last}weight", f"{last}bias"):
            state[name] = state[name][order].clone()
    torch.save(state, out)
    return out


@pytest.fixture
def theirs(narrow_run: Path, tmp_path: Path) -> CaseSpec:
    weights = foreign(narrow_run, tmp_path / "theirs.pt")
    return CaseSpec(weights=weights, data="digits", forget=("3",), model=NARROW)


def changed(spec: CaseSpec, **values: Any) -> CaseSpec:
    return copy.replace(spec, **values) if hasattr(copy, "replace") else CaseSpec(**(spec.__dict__ | values))


def look(spec: CaseSpec, said: Said | None = None) -> Any:
    return first_look(Case.opened(spec, reader="the test"), runtime=CPU, progress=said)


def load_fixed() -> ImageData:
    """The digits, their shape known."""
    data = load_data("digits")
    data.fix_shape(0)
    return data


def test_foreign_weights_that_fit_pass_without_a_word(theirs: CaseSpec) -> None:
    said = Said()
    found = look(theirs, said)
    assert found.finding.kind == "fits"
    assert found.finding.accuracy > 0.9
    assert found.complaint is None
    assert said.lines == []
    line = feeding_line(load_fixed(), Origin.SOURCE)
    assert line == (
        "images: 8 x 8 pixels (default), no crop (default), bilinear (default), mean 0.3 (of the data source), "
        "std 0.4 (of the data source), 1 channel (of the data source); "
        "10 classes in the order 0, 1, 2, 3, 4 ... 9 (of the data source)"
    )


def test_weights_with_a_card_of_ours_are_not_looked_at(narrow_run: Path) -> None:
    case = Case.opened(CaseSpec(weights=narrow_run / WEIGHTS, data="digits", forget=("3",)), reader="the test")
    found = first_look(case, runtime=CPU)
    assert found.as_record(case.classes) is None
    assert not case.data.train.decoded.any()
    assert "forget_samples_read_by_first_look" not in found.access.summary(case.split)


def test_the_model_and_the_random_state_stay_as_they_are(theirs: CaseSpec) -> None:
    case = Case.opened(theirs, reader="the test")
    before, random = copy.deepcopy(case.model.state_dict()), torch.get_rng_state()
    first_look(case, runtime=CPU)
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in case.model.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.is_contiguous()


def test_no_forgotten_image_is_read_and_the_counts_say_so(theirs: CaseSpec, tmp_path: Path) -> None:
    forget_run(theirs, HEAD_MASK, Output(tmp_path / "out"), audit=None, runtime=CPU)
    access = read_json(tmp_path / "out", "access.json")
    for key in ("forget_samples_read", "forget_samples_read_by_first_look", "forget_samples_decoded"):
        assert access[key] == 0
    for part, classes in access["parts"].items():
        read = [counts["read_by_first_look"] for counts in classes.values()]
        assert all(read) if part == "retain_train" else not any(read), part
    assert sum(counts["read_by_first_look"] for counts in access["parts"]["retain_train"].values()) == 384


@pytest.mark.slow
def test_the_run_folder_records_the_look_and_the_origins(theirs: CaseSpec, tmp_path: Path) -> None:
    forget_run(theirs, HEAD_MASK, Output(tmp_path / "out"), audit=None, runtime=CPU)
    config = read_json(tmp_path / "out", "config.json")
    assert config["trust_inputs"] is False
    assert config["first_look"]["finding"] == "fits"
    assert config["first_look"]["accuracy"] > config["first_look"]["limit"]
    assert config["origins"] == {
        "image_size": "default", "crop_pct": "default", "interpolation": "default", "mean": "of the data source",
        "std": "of the data source", "channels": "recorded with the weights", "classes": "of the data source",
    }  # fmt: skip
    audit_folder(Output(tmp_path / "out"), options=QUICK, runtime=CPU)
    access = read_json(tmp_path / "out", "access.json")
    assert access["forget_samples_read_by_first_look"] == 0


ORDER = [0, 1, 3, 4, 5, 6, 7, 8, 9, 2]  # new output k holds what output ORDER[k] did


def test_another_order_of_the_outputs_is_refused_with_the_confusion(
    theirs: CaseSpec, narrow_run: Path, tmp_path: Path
) -> None:
    spec = changed(theirs, weights=foreign(narrow_run, tmp_path / "moved.pt", ORDER))
    words = (
        r"the model answers '2' with output 9.*is the class order that of the folders\? Give --classes FILE.*"
        r"which by its answers is 0, 1, 3, 4, 5, 6, 7, 8, 9, 2\."  # no image of 3 was read: output 2 is left for it
    )
    with pytest.raises(ConfigError, match=words):
        look(spec)
    for step in (
        lambda out: forget_run(spec, HEAD_MASK, Output(out), runtime=CPU),
        lambda out: audit_pair(spec, Path(theirs.weights), Output(out), options=QUICK, runtime=CPU),
        lambda out: tune_run(spec, MethodChoice("finetune"), Output(out), search=SearchSpec(trials=2), runtime=CPU),
    ):
        with pytest.raises(ConfigError, match="is the class order"):
            step(tmp_path / "out")
        assert not (tmp_path / "out").exists()
    names = tuple(str(k) for k in ORDER)
    assert look(changed(spec, inputs=InputOptions.by_hand(classes=names))).finding.kind == "fits"
    given = changed(theirs, inputs=InputOptions.by_hand(classes=names))
    with pytest.raises(ConfigError, match="is the class order that of the list of --classes"):
        look(given)


@pytest.mark.slow
def test_the_command_line_exits_with_2_and_trust_inputs_goes_on(narrow_run: Path, tmp_path: Path) -> None:
    weights = foreign(narrow_run, tmp_path / "moved.pt", ORDER)
    command = ["forget", "--weights", weights, "--model", NARROW, "--data", "digits", "--forget", "3"]
    command += ["--method", "head-mask", "--device", "cpu", "--no-audit", "--out", tmp_path / "out"]
    refused = run_cli(*command, "--quiet")
    assert_refused(refused, "'2' with output 9", "--classes", "--trust-inputs")
    done = run_cli(*command, "--trust-inputs", "--json")
    assert done.code == 0
    assert json.loads(done.out)["forget"] == ["3"]
    assert "images: 8 x 8 pixels" in done.err
    assert "warning: Expected the weights" in done.err
    config = read_json(tmp_path / "out", "config.json")
    assert config["trust_inputs"] is True
    assert config["first_look"]["finding"] == "moved"
    assert {"class": "2", "output": 9, "share": 1.0} in config["first_look"]["moved"]
    again = run_cli("audit", tmp_path / "out", "--quick", "--device", "cpu", "--quiet")  # the folder remembers
    assert (again.code, again.out, again.err) == (0, "", "")


class Tones(nn.Module):
    """Knows classes of one colour each, by weights that `tone_weights` writes down."""

    def __init__(self, num_classes: int = 4, in_channels: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.mean(dim=(2, 3)))


def tones(count: int) -> torch.Tensor:
    """Colours (count, 3) in [0, 1]."""
    return torch.rand((count, 3), generator=torch.Generator().manual_seed(0))


def tone_weights(out: Path, count: int, mean: float = 0.5, std: float = 0.5, *, turned: bool = False) -> Path:
    """Weights for pixels that are normalised so: output k is the largest where colour k is the nearest."""
    known = ((tones(count).flip(1) if turned else tones(count)) - mean) / std
    # the logits are -|x - c|^2 + |x|^2
    torch.save({"layer.weight": 2 * known, "layer.bias": -(known**2).sum(dim=1)}, out)
    return out


def tone_spec(folder: Path, weights: Path, names: list[str], *, forget: str, **given: Any) -> CaseSpec:
    """A folder of pictures in one colour for each name, its weights, and what is given by hand."""
    for colour, name in zip(tones(len(names)), names, strict=True):
        for side, count in (("train", 12), ("test", 2)):
            place = folder / side / name
            place.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.new("RGB", (8, 8), tuple(int(255 * value) for value in colour)).save(place / f"{i}.png")
    return CaseSpec(
        weights=weights,
        data=f"imagefolder:{folder}",
        forget=(forget,),
        model="test_first_look:Tones",
        inputs=InputOptions.by_hand(**given),
    )


LETTERS = list("abcdef")


@pytest.mark.parametrize(
    ("mean", "std", "given", "advice"),
    [
        (0.0, 1.0, {"mean": (0.9,), "std": (0.1,)}, r"pixels from 0 to 1 100\.0% are right: give --mean 0 --std 1\."),
        (0.5, 0.5, {"mean": (1.0,), "std": (0.01,)}, r"mean 0\.5 and std 0\.5 100\.0% are right: give --mean 0\.5"),
        (0.0, 1 / 255, {}, r"pixels from 0 to 255 100\.0% are right: give --mean 0 --std 0\.00392157\."),
    ],
)
def test_a_wrong_normalisation_is_named(
    mean: float, std: float, given: dict[str, Any], advice: str, tmp_path: Path
) -> None:
    weights = tone_weights(tmp_path / "w.pt", 6, mean, std)
    right = tone_spec(tmp_path / "data", weights, LETTERS, forget="a", mean=(mean,), std=(std,))
    assert look(right).finding.kind == "fits"
    with pytest.raises(ConfigError, match=advice):
        look(tone_spec(tmp_path / "data", weights, LETTERS, forget="a", **given))


def test_an_untrained_model_is_refused_with_the_figures(theirs: CaseSpec, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SmallCNN(10, 1, width=8).state_dict(), tmp_path / "fresh.pt")
    with pytest.raises(ConfigError, match=r"no better than chance \(up to .* and 3 standard errors\).*architecture"):
        look(changed(theirs, weights=tmp_path / "fresh.pt"))


def test_numeric_folders_beside_outputs_in_numeric_order(tmp_path: Path) -> None:
    """Folders named 0 to 11 stand in the order of text: 10 is output 2, where the model has its 2."""
    names = [str(k) for k in range(12)]
    weights = tone_weights(tmp_path / "w.pt", 12)
    given: dict[str, Any] = {"mean": (0.5,), "std": (0.5,)}
    spec = tone_spec(tmp_path / "data", weights, names, forget="10", **given)
    assert load_data(spec.data).classes[2] == "10"
    words = (
        r"the model answers '11' with output 11 \(here '9'\), '2' with output 2 \(here '10'\).*"
        r"In the numeric order of the names \(0, 1, 2, 3, 4, \.\.\.\) 100\.0% are right: give --classes FILE"
    )
    with pytest.raises(ConfigError, match=words):
        look(spec)
    listed = changed(spec, inputs=InputOptions.by_hand(**given, classes=tuple(names)))
    assert look(listed).finding.kind == "fits"
    forget_run(listed, HEAD_MASK, Output(tmp_path / "out"), audit=None, runtime=CPU)
    after = read_checkpoint(tmp_path / "out" / WEIGHTS).state
    before = read_checkpoint(weights).state
    changes = [k for k in range(12) if not torch.equal(after["layer.bias"][k], before["layer.bias"][k])]
    assert changes == [10]


def test_a_data_set_without_retained_images_is_not_looked_at(tmp_path: Path) -> None:
    weights = tone_weights(tmp_path / "w.pt", 6)
    spec = tone_spec(tmp_path / "data", weights, ["a"], forget="a", classes=tuple(LETTERS))
    case = Case.opened(spec, reader=None)
    assert first_look(case, runtime=CPU).finding is None


def bordered(folder: Path, weights: Path) -> None:
    """Write pictures of 16 pixels, in the middle all of one grey, and weights that know them by their mean colour."""
    colours = tones(6)
    for colour, name in zip(colours, LETTERS, strict=True):
        place = folder / "train" / name
        place.mkdir(parents=True)
        for i in range(12):
            picture = Image.new("RGB", (16, 16), tuple(int(255 * value) for value in colour))
            picture.paste((127, 127, 127), (4, 4, 12, 12))
            picture.save(place / f"{i}.png")
    known = (0.75 * colours + 0.25 * 0.5 - 0.5) / 0.5
    torch.save({"layer.weight": 2 * known, "layer.bias": -(known**2).sum(dim=1)}, weights)


@pytest.mark.slow
def test_a_wrong_size_or_crop_is_named(tmp_path: Path) -> None:
    bordered(tmp_path / "data", tmp_path / "w.pt")
    given: dict[str, Any] = {"mean": (0.5,), "std": (0.5,)}

    def spec(**sizes: Any) -> CaseSpec:
        return CaseSpec(
            weights=tmp_path / "w.pt",
            data=f"imagefolder:{tmp_path / 'data'}",
            forget=("a",),
            model="test_first_look:Tones",
            inputs=InputOptions.by_hand(**given, **sizes),
        )

    assert look(spec()).finding.kind == "fits"
    words = r"with 16 pixels and no crop 100\.0% are right: give --image-size 16 --crop-pct 1\."
    with pytest.raises(ConfigError, match=words):
        look(spec(size=8, crop=0.5))
    case = Case.opened(spec(size=8, crop=0.5), reader="the test")
    trusting = look_at(replace(Examined.of(case), trusted=True), runtime=CPU)
    read_now = trusting.access.summary(case.split)
    assert read_now["forget_samples_read_by_first_look"] == 0
    parts: Any = read_now["parts"]
    assert "b" in parts["retain_train"]


def test_a_poor_accuracy_that_another_way_mends_is_said(tmp_path: Path) -> None:
    weights = tone_weights(tmp_path / "w.pt", 6)
    spec = tone_spec(tmp_path / "data", weights, LETTERS, forget="a", mean=(0.2,), std=(0.5,))
    said = Said()
    found = look(spec, said)
    assert (found.finding.kind, found.complaint) == ("fits", None)
    assert found.finding.accuracy < 0.8
    assert [line for line in said.lines if "mean 0.5 and std 0.5 about 100.0%" in line and line.startswith("warning: ")]


def training(weights: Path, **more: Any) -> TrainSpec:
    return TrainSpec(model=NARROW, data="digits", init=weights, settings=["epochs=1"], **more)


def test_training_from_weights_in_another_order_is_refused(narrow_run: Path, tmp_path: Path) -> None:
    moved, out = foreign(narrow_run, tmp_path / "moved.pt", ORDER), tmp_path / "out"
    with pytest.raises(ConfigError, match=r"'2' with output 9.*--classes"):
        train_run(training(moved), Output(out), runtime=CPU)
    assert not out.exists()
    said = Said()
    train_run(training(moved, trust_inputs=True, exclude=["3"]), Output(out), runtime=CPU, progress=said)
    assert any(line.startswith("warning: ") and "--trust-inputs is given" in line for line in said.lines)
    config = read_json(out, "config.json")
    assert (config["trust_inputs"], config["first_look"]["finding"]) == (True, "moved")
    access = read_json(out, "access.json")
    assert access["forget_samples_read_by_first_look"] == 0


@pytest.mark.slow
def test_training_may_start_from_weights_for_something_else(narrow_run: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(SmallCNN(10, 1, width=8).state_dict(), tmp_path / "fresh.pt")
    said = Said()
    train_run(training(tmp_path / "fresh.pt"), Output(tmp_path / "out"), runtime=CPU, progress=said)
    assert any(line.startswith("warning: ") and "training can mend it" in line for line in said.lines)
    # weights of ours, and those whose head is drawn anew, are not looked at
    train_run(training(narrow_run / WEIGHTS), Output(tmp_path / "ours"), runtime=CPU)
    assert read_json(tmp_path / "ours", "config.json")["first_look"] is None


def test_retrained_models_of_another_tool_are_looked_at_too(theirs: CaseSpec, narrow_run: Path, tmp_path: Path) -> None:
    moved = foreign(narrow_run, tmp_path / "moved.pt", ORDER)
    options = AuditOptions(depth=Depth.QUICK, retrained=(moved,))
    with pytest.raises(ConfigError, match=r"Expected the retrained weights .*moved\.pt to know.*'2' with output 9"):
        forget_run(theirs, HEAD_MASK, Output(tmp_path / "out"), audit=options, runtime=CPU)
    assert not (tmp_path / "out").exists()


def test_a_retrained_file_with_several_sets_says_what_to_do(theirs: CaseSpec, tmp_path: Path) -> None:
    state = read_checkpoint(theirs.weights).state
    other = {key: value + 1 for key, value in state.items()}
    torch.save({"model": state, "model_ema": other}, tmp_path / "keys.pt")
    prefixed = {f"a.{key}": value for key, value in state.items()} | {f"b.{key}": v for key, v in other.items()}
    torch.save(prefixed, tmp_path / "prefixes.pt")
    for name, keys in (("keys.pt", "model, model_ema"), ("prefixes.pt", "a, b")):
        options = AuditOptions(depth=Depth.QUICK, retrained=(tmp_path / name,))
        words = rf"{name} holds several \({keys}\), and --weights-key is for the model before forgetting alone; write"
        with pytest.raises(WeightsError, match=words):
            forget_run(theirs, HEAD_MASK, Output(tmp_path / "out"), audit=options, runtime=CPU)


def test_a_comparison_asks_for_weights_that_say_what_they_are(theirs: CaseSpec, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "original"
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(Path(theirs.weights).read_bytes())
    with pytest.raises(WeightsError, match=r"original.*another tool wrote it; make the folders.*--init starts from"):
        Bench.opened("digits", tmp_path / "models", tmp_path / "work", ["3"])


def test_another_pooling_of_timm_is_named(tmp_path: Path) -> None:
    """Weights made for the mean of all places are read as for the maximum, which is the same in all classes."""
    timm = pytest.importorskip("timm")
    model = timm.create_model("test_resnet", num_classes=6)
    weights = tmp_path / "w.pt"
    spec = tone_spec(tmp_path / "data", weights, LETTERS, forget="a", mean=(0.5,), std=(0.5,), size=32)
    normalised = (tones(6).view(6, 3, 1, 1).expand(6, 3, 32, 32) - 0.5) / 0.5
    max_pooled = timm.create_model("test_resnet", num_classes=6, global_pool="max").eval()
    max_pooled.load_state_dict(model.state_dict())
    with torch.no_grad():
        features = max_pooled.forward_head(max_pooled.forward_features(normalised), pre_logits=True)
        scale = features.std(dim=0).clamp(min=1e-3)
        known = (features - features.mean(dim=0)) / scale
        head = dict(model.named_modules())["fc"]
        head.weight.copy_(2 * known / scale)
        head.bias.copy_(-(known**2).sum(dim=1) - (2 * known / scale) @ features.mean(dim=0))
    torch.save(model.state_dict(), weights)
    named = look(changed(spec, model="timm:test_resnet,global_pool=max"))
    assert named.finding.accuracy == 1
    case = Case.opened(changed(spec, model="timm:test_resnet"), reader="the test")
    judging = Judging(
        subject=Examined.of(case), network=case.model, runtime=CPU.alone(), access=first_look(case, runtime=CPU).access
    )
    ways = {way.options: found.accuracy for way, found in judging._pooled()}
    assert ways["write --model timm:test_resnet,global_pool=max"] == 1
    assert "write --model timm:test_resnet,global_pool=avg" not in ways
