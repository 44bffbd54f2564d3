"""Real image sets, where they lie in `shared/data` beside the project or in $UNLEARNKIT_DATA; skipped elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from real_data import folder
from unlearnkit.data.sources.registry import load_data
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import checkpoint_bytes
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, split_for
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.opening import card_for
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import CaseSpec

CPU = Runtime(device=torch.device("cpu"))


@pytest.mark.slow
def test_cifar10_is_read_as_it_is_described() -> None:
    data = load_data(folder("cifar10"))
    assert data.classes[0] == "airplane"
    assert data.classes[9] == "truck"
    assert torch.bincount(data.labels("train")).tolist() == [5000] * 10
    assert torch.bincount(data.labels("test")).tolist() == [1000] * 10
    split = split_for(ForgetRequest(classes=("airplane",)), data)
    rows = split[Part.RETAIN_TRAIN][:64]
    data.fix_shape(int(rows[0]))
    images = data.train.images(rows, CPU.device)
    assert data.shape == (3, 32, 32)
    assert images.shape == (64, 3, 32, 32)
    assert 60 < float(images.float().mean()) < 180
    assert float(images.float().std()) > 30
    assert int(data.train.decoded.sum()) == 64


@pytest.mark.slow
def test_an_identity_is_forgotten_without_decoding_a_face_of_it(tmp_path: Path) -> None:
    source = folder("faces_lfw158")
    data = load_data(source)
    name = data.classes[7]
    data.fix_shape(int(torch.nonzero(data.labels("train") != 7)[0]))
    torch.manual_seed(0)
    architecture = "small-cnn,width=4"  # what it learns does not matter
    model = build_model(architecture, num_classes=len(data.classes), in_channels=3)
    weights = tmp_path / "original.safetensors"
    weights.write_bytes(checkpoint_bytes(model, card_for(architecture, data, forgotten=())))
    choice = MethodChoice(
        "unsir",
        settings=("retain_per_class=6", "noise.steps=2", "noise.batch_size=8", "repair.epochs=1", "search.attempts=1"),
    )
    out = tmp_path / "run"
    spec = CaseSpec(weights=weights, data=source, forget=(name,))
    forget_run(spec, choice, Output(out), audit=None, runtime=CPU)
    access = json.loads((out / "access.json").read_text(encoding="utf-8"))
    assert access["forget_samples_read"] == 0
    assert access["forget_samples_decoded"] == 0
    assert access["parts"]["forget_train"][name] == {
        "samples": int((data.labels("train") == 7).sum()),
        "read_by_method": 0,
        "read_by_audit": 0,
        "decoded": 0,
    }
    retained = access["parts"]["retain_train"].values()
    assert sum(counts["read_by_method"] for counts in retained) > 900
