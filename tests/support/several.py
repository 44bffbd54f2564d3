"""Unlearning runs for test_processes.py to start in several processes: `several.py CASE,CASE OUT`, a folder each."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from canonical import CLASSES, METHODS, TinyViT, small_cnn, tiny_data
from unlearnkit.errors import UnlearnkitError
from unlearnkit.methods import UNSIR, Context, unlearn
from unlearnkit.methods.unsir.noise import NoiseSettings
from unlearnkit.methods.unsir.unsir import ImpairSettings, RepairSettings
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe

METHOD = UNSIR(
    retain_per_class=15,
    noise=NoiseSettings(batch_size=7, steps=4, repeats=2),
    impair=ImpairSettings(batch_size=9, lr=0.01, epochs=2),
    repair=RepairSettings(batch_size=9, lr=0.01, epochs=3),
)


class Dies:
    """A method of which process 1 vanishes at the third step."""

    needs = frozenset({Part.RETAIN_TRAIN})

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        steps: list[int] = []

        def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            steps.append(1)
            if len(steps) == 3 and ctx.runtime.processes.rank == 1:
                os._exit(9)
            return nn.functional.cross_entropy(model(images), labels)

        retained = ctx.view.part(Part.RETAIN_TRAIN)
        recipe = Recipe(epochs=50, batch_size=8, lr=0.01)
        train(model, retained, recipe, stage="s", generator=ctx.generator, runtime=ctx.runtime, log=ctx.log, loss=loss)
        return model


def off_zero(model: nn.Module) -> nn.Module:
    """Move the biases away from 0, where an L1 term has a kink.

    The gradient of an attention's key bias is zero but for rounding; begun at 0 it would follow the sign of that.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.1)
    return model


def every_method(out: Path) -> None:
    """The methods of the canonical table one after another; the weights are saved under the methods' names."""
    runtime, weights, facts = Runtime.named("cpu", "fp64"), {}, {}
    for name, entry in METHODS.items():
        # bug for bug in one process; or every process does the same, from images that a generator made
        if "notebook" in name or not entry.trains or name == "gkt":
            continue
        torch.manual_seed(7)
        result = unlearn(
            off_zero(TinyViT(len(CLASSES), dropout=0.0)).eval(),
            entry.method,
            tiny_data(1),
            ForgetRequest(classes=(1, 3)),
            seed=0,
            runtime=runtime,
            factory=lambda: TinyViT(len(CLASSES), dropout=0.0),
        )
        weights |= {f"{name}/{key}": value for key, value in result.model.state_dict().items()}
        facts[name] = {
            "access": result.access.summary(result.split),
            "passes": {
                stage: (c["samples_forward"], c["samples_backward"]) for stage, c in result.cost["stages"].items()
            },
        }
    if runtime.processes.is_main:
        save_file(weights, out / "weights.safetensors")
        (out / "facts.json").write_text(json.dumps(facts))


def threads() -> list[str]:
    """Names of this process's threads, those of libraries too."""
    return [(thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir()]


def leaves(out: Path) -> None:
    """Join the others, train a little, part from them; the threads of the group are written down for both moments."""
    runtime = Runtime.named("cpu", "fp32")
    unlearn(small_cnn(1), METHOD, tiny_data(1, per_class=30), ForgetRequest(classes=(1,)), seed=3, runtime=runtime)
    together = [name for name in threads() if "gloo" in name]
    runtime.processes.leave()
    ends = time.monotonic() + 10
    while (alone := [name for name in threads() if "gloo" in name]) and time.monotonic() < ends:
        time.sleep(0.01)  # the system lists a thread for a moment after it was joined
    (out / f"threads-{runtime.processes.rank}.json").write_text(json.dumps({"together": together, "alone": alone}))


def main(case: str, out: Path) -> None:
    if case in ("methods", "leaves"):
        {"methods": every_method, "leaves": leaves}[case](out)
        return
    runtime = Runtime.named("cpu", "fp64")
    torch.manual_seed(7)
    model = small_cnn(1) if case == "batchnorm" else TinyViT(len(CLASSES), dropout=0.0).eval()
    method = METHOD
    if case == "few":
        method = METHOD.with_settings(["impair.batch_size=1"])
    data = tiny_data(1, per_class=30, augment="crop_flip")
    result = unlearn(
        model.double() if case == "exact" else model,
        Dies() if case == "dies" else method,
        data,
        ForgetRequest(classes=(1,)),
        seed=3,
        runtime=runtime,
    )
    if runtime.processes.is_main:
        save_file(result.model.state_dict(), out / "weights.safetensors")
        facts = {
            "access": result.access.summary(result.split),
            "cost": result.cost["stages"],
            "history": result.history,
            "processes": result.notes["runtime"]["processes"],
        }
        (out / "facts.json").write_text(json.dumps(facts))


def work(cases: str, out: Path) -> None:
    """Run cases one after another, each in a folder of its own; a named error is written down there."""
    for name in cases.split(","):
        place = out / name
        place.mkdir(exist_ok=True)
        try:
            main(name, place)
        except UnlearnkitError as error:
            (place / f"error-{os.environ['RANK']}.txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
