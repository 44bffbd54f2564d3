"""Streaming at ImageNet's shape on a small machine: does memory stay constant, and does the loader keep up?

    python benchmarks/imagenet_shaped.py --work DIR [--images 20000] [--classes 100] [--workers N]

Generates 224-pixel JPEGs in class folders (once, about 0.4 GB for 20,000), then, for each model: one forward pass
over all of them, and training on a part. Prints images per second, the share of the wall time spent waiting for
images, and the memory of the process and its workers along the way; beside it the loader alone. One run, no spread:
rates of one machine, not a comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from unlearnkit import Runtime
from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.data.sources.registry import load_data
from unlearnkit.data.view import Batch
from unlearnkit.models import build_model, check_model
from unlearnkit.request import ResolvedRequest
from unlearnkit.run_dir import versions
from unlearnkit.runtime.progress import Silent
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part, split_resolved
from unlearnkit.training.loop import train
from unlearnkit.training.predict import predict
from unlearnkit.training.recipe import Recipe

MODELS = ("timm:vit_tiny_patch16_224", "timm:mobilenetv2_100")
SIDE = 224
BATCH = 64


class Memory(Silent):
    """Notes the memory of this process and its workers as training goes on."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def advance(self, detail: str = "") -> None:
        """Look at the memory whenever the loop looks at the losses."""
        if detail or not self.seen:
            self.note()

    def note(self) -> None:
        """Note the memory that belongs to these processes alone, in MB."""
        me = psutil.Process()
        private = [p.memory_full_info().uss for p in (me, *me.children(recursive=True))]
        self.seen.append(sum(private) / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--train-images", type=int, default=3_200)
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "imagenet_shaped.json")
    arguments = parser.parse_args()
    generate(arguments.work, arguments.images, arguments.classes)
    rows = [loader_alone(arguments)]
    for model in MODELS:
        rows += through(model, arguments)
    result = {
        "benchmark": "imagenet_shaped",
        "hardware": {
            "device": str(Runtime().device),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "versions": versions(),
        "images": arguments.images,
        "classes": arguments.classes,
        "workers": arguments.workers,
        "bytes_if_held_in_memory": arguments.images * 3 * SIDE * SIDE,
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(rows))


def generate(folder: Path, images: int, classes: int) -> None:
    """Write the class folders, unless they are there."""
    done = folder / f"complete-{images}-{classes}"
    if done.exists():
        return
    began = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_write_class, folder, images // classes), range(classes)))
    done.touch()
    print(f"generated {images} images in {time.perf_counter() - began:.0f} s")


def _write_class(folder: Path, count: int, class_id: int) -> None:
    """Smooth coloured textures, alike within a class; as large as a photograph when compressed."""
    random = np.random.default_rng(class_id)
    base = random.integers(40, 215, (4, 4, 3))
    for side, number in (("train", count), ("test", max(1, count // 20))):
        target = folder / side / f"class-{class_id:03d}"
        target.mkdir(parents=True, exist_ok=True)
        for i in range(number):
            coarse = np.clip(base + random.normal(0, 30, base.shape), 0, 255).astype(np.uint8)
            image = np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
            fine = Image.fromarray(random.integers(0, 255, (SIDE // 4, SIDE // 4, 3)).astype(np.uint8))
            image = (
                image + (np.asarray(fine.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16) - 128) // 4
            )
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(target / f"{i:05d}.jpg", quality=85)


def _open(arguments: argparse.Namespace, runtime: Runtime) -> tuple[ImageData, DataView]:
    data = load_data(f"imagefolder:{arguments.work}", image_size=SIDE, storage="stream", workers=arguments.workers)
    split = split_resolved(ResolvedRequest(forget=(), already_forgotten=(), classes=data.classes), data)
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    log = AccessLog(data)
    return data, DataView(data, split, frozenset(Part), reader="method", log=log, device=runtime.device)


def loader_alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """Decode every training image once, with nothing else to do."""
    _, view = _open(arguments, Runtime())
    samples, memory = view.part(Part.RETAIN_TRAIN), Memory()
    batches = [Batch(p) for p in torch.randperm(len(samples)).split(BATCH)]
    began = time.perf_counter()
    for i, _ in enumerate(samples.stream(batches)):
        if i % 25 == 0:
            memory.note()
    return _row("loader alone", "decode", len(samples), time.perf_counter() - began, None, memory)


def through(name: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One forward pass over all training images, then training on a part of them."""
    with isolated_randomness(0) as generator:
        data, view = _open(arguments, Runtime())
        model = build_model(name, num_classes=arguments.classes, in_channels=3)
        check_model(model, classes=arguments.classes, shape=data.shape)
        runtime = Runtime(eval_batch_size=BATCH).fitted(model, data.shape)
        model = runtime.weights(model)  # onto the device, in its memory format
        samples, memory = view.part(Part.RETAIN_TRAIN), Memory()
        began, waited = time.perf_counter(), data.wait_seconds
        for part in torch.arange(len(samples)).split(len(samples) // 10 + 1):
            predict(model, samples.subset(part), runtime)
            memory.note()
        seconds = time.perf_counter() - began
        rows = [_row(name, "forward", len(samples), seconds, data.wait_seconds - waited, memory)]
        print(rows[-1])
        part = samples.subset(torch.randperm(len(samples), generator=generator)[: arguments.train_images])
        memory = Memory()
        began, waited = time.perf_counter(), data.wait_seconds
        train(
            model,
            part,
            Recipe(batch_size=BATCH, lr=0.01, augment="crop_flip"),
            stage="train",
            generator=generator,
            runtime=runtime,
            log=RunLog(runtime, memory),
        )
        seconds = time.perf_counter() - began
        rows.append(_row(name, f"train ({runtime.precision})", len(part), seconds, data.wait_seconds - waited, memory))
        print(rows[-1])
    return rows


def _row(model: str, what: str, images: int, seconds: float, waited: float | None, memory: Memory) -> dict[str, Any]:
    return {
        "model": model,
        "what": what,
        "images": images,
        "images_per_second": images / seconds,
        "waiting_share": None if waited is None else waited / seconds,
        "memory_mb": [round(x) for x in memory.seen],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown table, one line per model and kind of work."""
    lines = [
        "| model | work | images | images / s | waiting for images | memory, MB: first, highest, last |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        waiting = "-" if row["waiting_share"] is None else f"{row['waiting_share']:.1%}"
        memory = row["memory_mb"]
        lines.append(
            f"| {row['model']} | {row['what']} | {row['images']:,} | {row['images_per_second']:.0f} | {waiting} "
            f"| {memory[0]}, {max(memory)}, {memory[-1]} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
