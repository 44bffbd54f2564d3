"""Evaluates the models that `gpu.py` trained, and packs their weights into few small files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from comparison_runs import written
from fast_network import Averaged
from gpu_facts import hardware
from gpu_plan import FILE_BYTES, FORGET
from unlearnkit import ForgetRequest, Runtime
from unlearnkit.data import AccessLog, DataView
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.split import Part, split_for
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.training.predict import predict


def packed(folder: Path, done: Mapping[str, Any], model: str, out: Path, *, dtype: torch.dtype, smoke: bool) -> None:
    """Write the weights of trained models into as few files as their size allows.

    Args:
        folder: holds the models' run folders.
        done: what is known of each model, by the name of its folder; it goes into the files.
        model: their architecture.
        out: the folder of the files, which are called like `folder`.
        dtype: of the weights that are no whole numbers.
    """
    parts: list[dict[str, Tensor]] = [{}]
    for unit in done:
        state = read_checkpoint(folder / unit / WEIGHTS).state
        named = {f"{unit}/{key}": v.to(dtype) if v.is_floating_point() else v for key, v in state.items()}
        if parts[-1] and sum(v.nbytes for v in (*parts[-1].values(), *named.values())) > FILE_BYTES:
            parts.append({})
        parts[-1] |= named
    facts = {"model": model, "models": json.dumps(dict(done)), "card": hardware()["name"]}
    facts |= {"torch": torch.__version__, "smoke": str(smoke)}
    for number, part in enumerate(parts if done else ()):
        written(out / f"{folder.name}{'' if not number else f'-{number + 1}'}.safetensors", save(part, facts))


def evaluated(model: str, source: str, folder: Path, runtime: Runtime) -> dict[str, Any]:
    """Test accuracy of a trained model on the retained classes, plain and with test-time augmentation, and on class 0.

    The logits of six views are averaged, as in `fast_network.py`.
    """
    checkpoint = read_checkpoint(folder / WEIGHTS)
    data = load_images(source, checkpoint)
    split = split_for(ForgetRequest(classes=FORGET), data)
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    view = DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=runtime.device)
    network = open_model(model, checkpoint, data)
    runtime = runtime.fitted(network, data.shape, exact=True)
    network = runtime.weights(network)
    accuracy = {}
    for key, asked, part in (
        ("accuracy_retained", network, Part.RETAIN_TEST),
        ("accuracy_retained_tta", Averaged(network), Part.RETAIN_TEST),
        ("accuracy_forgotten", network, Part.FORGET_TEST),
    ):
        samples = view.part(part)
        accuracy[key] = float((predict(asked, samples, runtime).argmax(dim=1) == samples.labels).float().mean())
    config, cost = read_json(folder, "config.json"), read_json(folder, "cost.json", "total")["total"]
    facts = {key: config[key] for key in ("seed", "recipe", "precision", "validation_accuracy")} | {"cost": cost}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"model": model, "parameters": parameters, **facts, **accuracy}
