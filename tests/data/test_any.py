"""Models x data sources x precisions through the steps behind the command line, and back into plain timm."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
from safetensors.torch import load_file

from canonical import CLASSES, TINY
from pictures_on_disk import SIDE, picture
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.opening import InputOptions
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import CaseSpec, TrainSpec
from unlearnkit.steps.train import train_run

TRAIN, TEST = 8, 2
MODELS = {
    "cnn": "small-cnn,width=4",
    "lcnet": "timm:lcnet_035",
    "vit": "timm:vit_tiny_patch16_224,img_size=32,patch_size=8,embed_dim=16,depth=1,num_heads=2",
    "convnext": "timm:convnext_atto,depths=(1,1,1,1),dims=(8,8,8,8)",
    "swin": "timm:swin_tiny_patch4_window7_224,img_size=32,window_size=4,embed_dim=8,depths=(1,1),num_heads=(1,1)",
    "torchvision": "torchvision:shufflenet_v2_x0_5",
}
LARGE = ("lcnet", "torchvision")
SOURCES = ("parquet", "imagefolder", "hf")
PRECISIONS = ("fp32", "bf16", "fp64")
# every model meets every source and every precision, and these meet each other
TABLE = [
    (model, source, PRECISIONS[(i + j) % len(PRECISIONS)])
    for i, model in enumerate(MODELS)
    for j, source in enumerate(SOURCES)
]


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same images as Parquet files, as class folders, and as a data set for Hugging Face `datasets`."""
    parquet, folder = tmp_path_factory.mktemp("parquet"), tmp_path_factory.mktemp("folder")
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    for side, count in (("train", TRAIN), ("test", TEST)):
        images, labels = [], []
        for k, name in enumerate(CLASSES):
            (folder / side / name).mkdir(parents=True)
            for i in range(count):
                image = picture(k, i + 50 * (side == "test"))
                image.save(folder / side / name / f"{i}.png")
                buffer = io.BytesIO()
                image.save(buffer, "PNG")
                images.append({"bytes": buffer.getvalue(), "path": f"{name}-{i}.png"})
                labels.append(k)
        table = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), parquet / f"{side}.parquet")
    return {"parquet": f"parquet:{parquet}", "imagefolder": f"imagefolder:{folder}", "hf": f"hf:{parquet}"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "hf-cache")


def through(model: str, source: str, precision: Any, out: Path, storage: Any = "auto") -> dict[str, Any]:
    """Train one epoch, then forget a class, with tiny settings."""
    runtime = Runtime(device=torch.device("cpu"), precision=precision)
    training = TrainSpec(
        model=model,
        data=source,
        settings=["epochs=1", "batch_size=14", "lr=0.01"],
        inputs=InputOptions.by_hand(size=SIDE, storage=storage, workers=0),
    )
    train_run(training, Output(out / "original"), runtime=runtime)
    spec = CaseSpec(
        weights=out / "original" / WEIGHTS,
        data=source,
        forget=("bee",),
        inputs=InputOptions(storage=storage, workers=0),
    )
    choice = MethodChoice("unsir", settings=TINY)
    return forget_run(spec, choice, Output(out / "forgotten"), runtime=runtime, audit=None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "source", "precision"),
    [pytest.param(*row, id="-".join(row), marks=[pytest.mark.slow] if row[0] in LARGE else []) for row in TABLE],
)
def test_every_model_forgets_from_every_source(
    model: str, source: str, precision: str, sources: dict[str, str], tmp_path: Path
) -> None:
    result = through(MODELS[model], sources[source], precision, tmp_path)
    assert result["access"]["forget_samples_read"] == 0
    assert result["access"]["forget_samples_decoded"] == 0
    before, after = (load_file(tmp_path / name / WEIGHTS) for name in ("original", "forgotten"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(value.isfinite().all() for value in after.values() if value.is_floating_point())
    config = read_json(tmp_path / "forgotten", "config.json")
    assert config["runtime"]["precision"] == precision
    assert (tmp_path / "forgotten" / "README.md").is_file()
    if MODELS[model].startswith("timm:") and source == "imagefolder":
        name, *options = MODELS[model].removeprefix("timm:").split(",", 1)
        values = eval(f"dict({options[0]})") if options else {}
        plain = timm.create_model(name, num_classes=len(CLASSES), **values)
        plain.load_state_dict(after)  # strict


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_streamed_images_give_the_weights_of_images_in_memory(
    model: str, sources: dict[str, str], tmp_path: Path
) -> None:
    states = []
    for storage in ("memory", "stream"):
        through(MODELS[model], sources["imagefolder"], "fp32", tmp_path / storage, storage)
        states.append(load_file(tmp_path / storage / "forgotten" / WEIGHTS))
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), key


@pytest.mark.slow
def test_a_class_whose_folder_is_gone_is_forgotten_by_its_id(sources: dict[str, str], tmp_path: Path) -> None:
    """The images of `bee` are deleted before the request: the ids of the model must not shift."""
    whole = Path(sources["imagefolder"].removeprefix("imagefolder:"))
    left = tmp_path / "left"
    shutil.copytree(whole, left)
    for side in ("train", "test"):
        shutil.rmtree(left / side / "bee")
    runtime = Runtime(device=torch.device("cpu"), precision="fp32")
    training = TrainSpec(model=MODELS["cnn"], data=f"imagefolder:{whole}", settings=["epochs=8", "lr=0.05"])
    train_run(training, Output(tmp_path / "original"), runtime=runtime)
    weights = {}
    for name, source in (("from-whole", whole), ("from-left", left)):
        spec = CaseSpec(weights=tmp_path / "original" / WEIGHTS, data=f"imagefolder:{source}", forget=("bee",))
        choice = MethodChoice("unsir", settings=TINY)
        forget_run(spec, choice, Output(tmp_path / name), runtime=runtime, audit=None)
        assert read_json(tmp_path / name, "request.json")["forget_ids"] == [1]
        assert read_json(tmp_path / name, "request.json")["classes"] == list(CLASSES)
        weights[name] = load_file(tmp_path / name / WEIGHTS)
    # nothing of the class was needed: without its images the run is the same
    whole_weights, left_weights = weights["from-whole"], weights["from-left"]
    assert all(torch.equal(whole_weights[key], left_weights[key]) for key in whole_weights)
