"""Whether the code still does, bit for bit, what it did: fingerprints of everything it computes, written and compared.

    python benchmarks/same_behaviour.py --write FILE.json [--only PART...]
    python benchmarks/same_behaviour.py --check FILE.json [--only PART...]

For a change that must not change behaviour, such as moving modules: write the file before, check it afterwards, on one
machine with one set of libraries. `--check` names every difference and exits with 1; it refuses, with 2, a file made
with another torch. The parts, all on the bundled digits, on one thread of the CPU:

- `methods`: every method with every preset, forgetting one class and two, from a small CNN; a few on a small ViT.
  Weights, losses, images made, samples read and samples passed. A method that refuses counts with its kind of error.
- `audit`: the full audit of a model made by UNSIR beside three retrained ones, with shadow models; every figure.
- `demo`: `unlearnkit demo`, the weights of its five models and every figure of its audit.json.
- `comparisons`: the table and the picture of every committed comparison, drawn anew.
- `commands`: `unlearnkit train`, `forget` and (with optuna) `tune`: weights, losses, settings chosen.

Clock times, memory and texts are not compared; of doubts about a reading only how many there are. The file holds for
the machine that wrote it: other processors round differently, so it is not to be committed.

Nothing here depends on how the package is laid out: it uses the names that `unlearnkit` and `unlearnkit.audit` export
and the command line, and builds its networks itself.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import unlearnkit as uk
from unlearnkit.audit import METRICS, audit, gather

RESULTS = Path(__file__).parent / "results"
PAGES = (  # the modules with `table` and with `picture`: where they are, and where older versions have them
    ("unlearnkit.compare.method_table", "unlearnkit.compare.picture"),
    ("unlearnkit.compare.page",) * 2,
    ("comparison_page",) * 2,
)
REQUESTS = (("3",), ("1", "8"))
FITTING: dict[tuple[str, str], tuple[str, ...]] = {  # the digits are too few for these as published: they refuse
    ("unsir", "paper"): ("retain_per_class=100",),
    ("unsir", "notebook"): ("retain_per_class=100",),
    ("ssd", "paper"): ("alpha=4",),
}
SHORTER: dict[tuple[str, str], tuple[str, ...]] = {  # these would take most of the time
    ("unsir", "paper"): ("noise.repeats=5", "noise.steps=20"),
    ("unsir", "notebook"): ("noise.repeats=5", "noise.steps=20"),
    ("finetune", "paper"): ("recipe.epochs=3",),
    ("neggrad+", "paper"): ("recipe.epochs=2",),
    ("l1-sparse", "paper"): ("recipe.epochs=3",),
    ("fisher", "paper"): ("fisher.samples=200",),
}
VIT_METHODS = ("unsir", "ssd", "scrub", "finetune")
VIT_OPTIONS: dict[str, Any] = {"img_size": 8, "patch_size": 2, "embed_dim": 32, "depth": 2, "num_heads": 2}
VIT = ",".join(["timm:vit_tiny_patch16_224", *(f"{name}={value}" for name, value in VIT_OPTIONS.items())])
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
LIBRARIES = ("numpy", "scipy", "scikit-learn", "timm", "torchvision")
TIMED = {"cost_seconds", "cost_ratio"}  # readings whose value is made from clock times
FIGURES = ("unit", "interval", "target", "band", "verdict", "gap", "samples")

Found = dict[str, Any]  # name -> fingerprint, JSON-ready


class SmallCNN(nn.Module):
    """The built-in `small-cnn`, with the names of its weights."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 32, 1), (32, 64, 2), (64, 64, 1)):
            convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 1, H, W) -> logits (n, 10)."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


def small_vit() -> nn.Module:
    network: nn.Module = timm.create_model("vit_tiny_patch16_224", num_classes=10, in_chans=1, **VIT_OPTIONS)
    return network


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A folder for the runs of the command line, each of which is made once.

    Args:
        folder: where run folders are written.
        information: what is worth knowing and not compared.
    """

    folder: Path
    information: Found = field(default_factory=dict)

    def run(self, name: str, *arguments: str) -> Path:
        """Run `unlearnkit` with `--out` in a process of its own, unless that was done; returns the run folder."""
        out = self.folder / name
        if out.exists():
            return out
        source = str(Path(uk.__file__).resolve().parents[1])  # the same package, wherever this one was found
        path = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-m", "unlearnkit", *arguments, "--out", str(out), "--quiet"],
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"`unlearnkit {' '.join(arguments)}` ended with {done.returncode}:\n{done.stderr}")
        return out

    def small_cnn(self) -> Path:
        """Run folder of the trained CNN."""
        return self.run(
            "small-cnn", "train", "--model", "small-cnn", "--data", "digits", "--epochs", "4", "--seed", "3"
        )

    def small_vit(self) -> Path:
        """Run folder of the trained ViT."""
        return self.run("small-vit", "train", "--model", VIT, "--data", "digits", "--epochs", "4", "--seed", "3")


def methods(shop: Workshop) -> Found:
    """Every method with every preset on the CNN, some on the ViT."""
    found: Found = {}
    for architecture, build, folder, names in (
        ("small-cnn", SmallCNN, shop.small_cnn(), tuple(uk.METHODS)),
        ("small-vit", small_vit, shop.small_vit(), VIT_METHODS),
    ):
        model = opened(build, folder)
        for name in names:
            for preset, make in uk.METHODS[name].presets().items():
                fitting = FITTING.get((name, preset), ())
                settings = [*fitting, *SHORTER.get((name, preset), ())]
                for classes in REQUESTS[: 1 if architecture == "small-vit" else None]:
                    key = f"methods/{architecture}/{name}/{preset}/{'+'.join(classes)}"
                    if fitting:
                        found |= forgotten(f"{key}/as-published", model, make(), classes, build)
                    found |= forgotten(key, model, make().with_settings(settings), classes, build)
    return found


def forgotten(
    key: str, model: nn.Module, method: uk.Method, classes: tuple[str, ...], build: Callable[[], nn.Module]
) -> Found:
    """Fingerprints of one run of a method."""
    try:
        result = unlearned(model, method, classes, build, seed=0)
    except uk.UnlearnkitError as error:
        return {f"{key}/refused": type(error).__name__}
    return {
        f"{key}/weights": of_tensors(result.model.state_dict()),
        f"{key}/history": of_values(dict(result.history)),
        f"{key}/images": of_tensors({f"{k}/{c}": v for k, group in result.images.items() for c, v in group.items()}),
        f"{key}/access": access_counts(result.access.summary(result.split)),
        f"{key}/cost": sample_counts(result.cost),
    }


def unlearned(
    model: nn.Module, method: uk.Method, classes: tuple[str, ...], build: Callable[[], nn.Module], *, seed: int
) -> uk.Unlearned:
    return uk.unlearn(
        model,
        method,
        uk.load_data("digits"),  # anew each time: it counts what was decoded
        uk.ForgetRequest(classes=classes),
        seed=seed,
        runtime=uk.Runtime(device=torch.device("cpu")),
        factory=build,
    )


def full_audit(shop: Workshop) -> Found:
    """All metrics on one unlearned model; the shadow models are fine-tuned ones, as only the arithmetic matters."""
    classes = REQUESTS[1]
    original = opened(SmallCNN, shop.small_cnn())
    result = unlearned(original, uk.UNSIR(), classes, SmallCNN, seed=0)
    retrained = [unlearned(original, uk.Retrain(), classes, SmallCNN, seed=1000 + i) for i in range(3)]
    shadows = [unlearned(original, uk.FineTune(), classes, SmallCNN, seed=10 + i).model for i in range(2)]
    data = uk.load_data("digits")
    evidence = gather(
        {"original": original, "unlearned": result.model, "retrained": [each.model for each in retrained]},
        data,
        uk.split_for(uk.ForgetRequest(classes=classes), data),
        metrics=METRICS.values(),
        seed=0,
        runtime=uk.Runtime(device=torch.device("cpu")),
        costs={
            ("unlearned", 0): result.cost["total"],
            **{("retrained", i): each.cost["total"] for i, each in enumerate(retrained)},
        },
        shadows=shadows,
    )
    return {"audit/metrics": list(METRICS)} | of_audit("audit", audit(evidence).as_dict())


def demo(shop: Workshop) -> Found:
    """The demo's weights, losses, counts and figures."""
    out = shop.run("demo", "demo")
    found: Found = {}
    for name in ("original", "retrained-1", "retrained-2", "retrained-3", "unlearned"):
        found |= of_run(f"demo/{name}", out / name)
    written = read(out / "unlearned", "audit.json")
    shop.information["demo/unlearned/files"] = sorted(path.name for path in (out / "unlearned").iterdir())
    return found | of_audit("demo/audit", written) | {"demo/audit/bank": written["bank"]}


def comparisons(shop: Workshop) -> Found:
    """Table and picture of every committed comparison, as bytes of the files that `--redraw` writes."""
    found: Found = {}
    for path in sorted(RESULTS.glob("compare_methods-*.json")):
        for suffix, content in drawn(json.loads(path.read_text(encoding="utf-8"))).items():
            found[f"comparisons/{path.stem}{suffix}"] = hashlib.sha256(content).hexdigest()
            committed = path.with_suffix(suffix)
            if committed.is_file():
                shop.information[f"comparisons/{committed.name}/as-committed"] = committed.read_bytes() == content
    return found


def drawn(result: dict[str, Any]) -> dict[str, bytes]:
    """The page of a comparison by the ending of its files; the only place that knows where the page is drawn."""
    for names in PAGES:
        try:
            tables, pictures = (importlib.import_module(name) for name in names)
        except ModuleNotFoundError as error:
            if not f"{names[0]}.".startswith(f"{error.name}."):
                raise
            continue
        contents = {".md": tables.table(result), ".svg": pictures.picture(result)}
        return {suffix: (content + "\n").encode() for suffix, content in contents.items()}
    known = ", ".join(tables for tables, _ in PAGES)
    raise RuntimeError(f"Expected a module that draws the page of a comparison, but found none of {known}.")


def commands(shop: Workshop) -> Found:
    """What the command line writes for training, forgetting and tuning."""
    trained = shop.small_cnn()
    given = ("--weights", str(trained / "model.safetensors"), "--data", "digits", "--forget", "3")
    forgetting = shop.run("forget", "forget", *given, "--method", "unsir", "--seed", "5", "--no-audit")
    shop.information["commands/forget/config"] = sorted(read(forgetting, "config.json"))
    found: Found = {}
    for name, folder in (("train", trained), ("train-vit", shop.small_vit()), ("forget", forgetting)):
        found |= of_run(f"commands/{name}", folder)
    if importlib.util.find_spec("optuna") is None:
        shop.information["commands/tune"] = "not run: optuna is not installed"
        return found
    tuned = shop.run("tune", "tune", *given, "--method", "unsir", "--trials", "3", "--seed", "5")
    result, settings = read(tuned, "trials.json"), read(tuned, "settings.json")["settings"]
    kept = ("settings", "score", "retained", "left")
    found["commands/tune/settings"] = settings
    found["commands/tune/best"] = [result["best"], result["signal"], exact(result["before"])]
    for trial in result["trials"]:
        found[f"commands/tune/trial-{trial['trial']}"] = {key: exact(trial[key]) for key in kept} | {
            "failed": trial["failure"] is not None
        }
    found["commands/tune/access"] = access_counts(read(tuned, "access.json"))
    chosen = [word for each in settings for word in ("--set", each)]
    return found | of_run("commands/tuned", shop.run("tuned", "forget", *given, *chosen, "--seed", "5", "--no-audit"))


PARTS: dict[str, Callable[[Workshop], Found]] = {
    "methods": methods,
    "audit": full_audit,
    "demo": demo,
    "comparisons": comparisons,
    "commands": commands,
}


def opened(build: Callable[[], nn.Module], folder: Path) -> nn.Module:
    """A network with the weights of a run folder."""
    network = build()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()


def read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return content


def of_run(key: str, folder: Path) -> Found:
    """Fingerprints of a run folder that `train` or `forget` wrote."""
    weights = folder / "model.safetensors"
    return {
        f"{key}/weights": of_tensors(load_file(weights)),
        f"{key}/file": hashlib.sha256(weights.read_bytes()).hexdigest(),
        f"{key}/history": of_values(read(folder, "history.json")),
        f"{key}/access": access_counts(read(folder, "access.json")),
        f"{key}/cost": sample_counts(read(folder, "cost.json")),
    }


def of_audit(key: str, written: Mapping[str, Any]) -> Found:
    """One fingerprint for each reading, one for its series, and the verdict's figures."""
    found: Found = {}
    for reading in written["readings"]:
        place = (reading["metric"], reading["part"] or "-", reading["model"], str(reading["replicate"]))
        name = f"{key}/{'/'.join(place)}"
        if name in found:
            raise RuntimeError(f"Expected each reading once, but {name} comes twice.")
        value = None if reading["metric"] in TIMED or reading["unit"] == "seconds" else exact(reading["value"])
        doubts = len(reading["doubts"])
        found[name] = {"value": value} | {each: exact(reading[each]) for each in FIGURES} | {"doubts": doubts}
        if reading["series"] is not None:
            found[f"{name}/series"] = of_values(reading["series"])
    verdict = written["verdict"]
    figures = {each: exact(verdict[each]) for each in ("status", "families_passed", "worst", "worst_gap")}
    return found | {f"{key}/verdict": figures | {"tier": written["tier"]}}


def access_counts(summary: Mapping[str, Any]) -> Found:
    """Of every part and class: samples, read by the method, read by the audit, decoded."""
    counts: Found = {
        f"{part}/{name}": [each["samples"], each["read_by_method"], each["read_by_audit"], each["decoded"]]
        for part, group in summary["parts"].items()
        for name, each in group.items()
    }
    return counts | {key: value for key, value in summary.items() if key != "parts"}


def sample_counts(cost: Mapping[str, Any]) -> Found:
    """Samples passed forward and backward, by stage."""
    stages = {**cost["stages"], "total": cost["total"]}
    return {name: [each["samples_forward"], each["samples_backward"]] for name, each in stages.items()}


def of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, type, shape and bytes of every tensor, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def of_values(value: Any) -> str:
    """SHA-256 of nested values; mappings in the order of their keys."""
    return hashlib.sha256(json.dumps(exact(value), sort_keys=True).encode()).hexdigest()


def exact(value: Any) -> Any:
    """The same, JSON-ready, with each float as its exact text."""
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, Mapping):
        return {str(key): exact(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [exact(each) for each in value]
    return value


def here() -> dict[str, Any]:
    """What the fingerprints depend on besides the code."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def fingerprints(parts: Iterable[str]) -> tuple[Found, Found]:
    """Run the parts: what is compared, and what is worth knowing besides."""
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(folder=Path(folder))
        for part in parts:
            began = time.monotonic()
            made = PARTS[part](shop)
            found |= made
            print(f"{part}: {len(made)} fingerprints, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found, shop.information


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each name whose fingerprint is another, gone, or new."""
    lines = [f"gone: {name}" for name in before if name not in now]
    lines += [f"new: {name}" for name in now if name not in before]
    for name, old in before.items():
        new = now.get(name, old)
        if new == old:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
            change = ", ".join(f"{key} {_short(old.get(key))} -> {_short(new.get(key))}" for key in keys)
        else:
            change = f"{_short(old)} -> {_short(new)}"
        lines.append(f"changed: {name}: {change}")
    return lines


def _short(value: Any, most: int = 60) -> str:
    text = value[:12] if isinstance(value, str) and len(value) == 64 else json.dumps(value)
    return text if len(text) <= most else f"{text[:most]}..."


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", type=Path, metavar="FILE", help="write the fingerprints of the code as it is")
    what.add_argument("--check", type=Path, metavar="FILE", help="compare with the fingerprints written earlier")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=list(PARTS), help="these parts alone")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    surroundings = here()
    before: dict[str, Any] = {}
    if arguments.check:
        before = json.loads(arguments.check.read_text(encoding="utf-8"))
        if before["torch"] != surroundings["torch"]:
            print(
                f"Expected torch {before['torch']}, which {arguments.check} was written with, but this is "
                f"{surroundings['torch']}; compare under one version.",
                file=sys.stderr,
            )
            return 2
        for key, value in surroundings.items():
            if before.get(key) != value:
                print(f"note: {key} was {before.get(key)}, and is {value}", file=sys.stderr)
    found, information = fingerprints(arguments.only)
    if arguments.write:
        content = {**surroundings, "fingerprints": found, "information": information}
        arguments.write.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{len(found)} fingerprints written to {arguments.write}")
        return 0
    kept = {name: value for name, value in before["fingerprints"].items() if name.partition("/")[0] in arguments.only}
    lines = differences(kept, found)
    print("\n".join([*lines, f"{len(lines)} of {len({**kept, **found})} fingerprints differ"]))
    return 1 if lines else 0


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        # libraries read these when they are loaded, so the whole starts anew
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **ENVIRONMENT})
    sys.exit(main())
