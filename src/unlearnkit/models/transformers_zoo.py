"""Image classifiers of Hugging Face transformers, from a folder as `save_pretrained` writes it or from the hub.

No code of a model's author is run: `trust_remote_code` is always off.
"""

from __future__ import annotations

import copy
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.disk.files import read_regular
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import ModelError, WeightsError, reason
from unlearnkit.models.fetch import fetching

PREFIX = "transformers:"
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
FILES = ("model.safetensors", "pytorch_model.bin")
INDEX = "model.safetensors.index.json"
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
ONE_SIZE = ("vit", "deit", "beit")  # kinds of models that take images of one size only
PROCESSORS = ("ViT", "DeiT", "ConvNext", "Bit", "CLIP", "Beit")  # what is read of them here is all that they do
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
LOCAL = {"trust_remote_code": False, "local_files_only": True}


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a folder of transformers says of its model.

    Args:
        path: the weights file.
        num_classes: width of the output.
        classes: names in the order of the outputs; None where they are only numbered (`LABEL_0`).
        preprocessing: how its images are fed.
    """

    path: Path
    num_classes: int
    classes: tuple[str, ...] | None
    preprocessing: Preprocessing


def build_transformers(
    base: str, options: Mapping[str, object], *, num_classes: int, in_channels: int, pretrained: bool
) -> nn.Module:
    """Build a fresh classifier by the configuration in a folder or on the hub.

    Raises:
        ModelError: there is no such configuration, it describes no image classifier, or options are given.
    """
    if options or pretrained:
        given = "--pretrained" if pretrained else ", ".join(options)
        raise ModelError(
            f"Expected {PREFIX}{base} alone, but got {given} too; options belong into its {CONFIG}, and "
            "training starts from its weights with --init."
        )
    library = _library()
    folder = _folder(base, CONFIG)
    config = _config(library, folder)
    if config.num_labels != num_classes:
        config.num_labels = num_classes
    if getattr(config, "num_channels", in_channels) != in_channels:
        config.num_channels = in_channels
    try:
        model: nn.Module = library.AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(
            f"Expected an image classifier of transformers in {folder}, but it cannot be built ({reason(error)}); "
            "name a folder that AutoModelForImageClassification reads without trust_remote_code."
        ) from error
    return model.float()


def is_folder(path: Path) -> bool:
    """Whether a folder holds a model as `save_pretrained` writes it."""
    try:
        return "model_type" in parse_json(read_regular(path / CONFIG))
    except (OSError, ValueError, TypeError):
        return False


def describe(base: str) -> Described:
    """Read what a folder, or a name on the hub, says of its model; the weights are fetched where they lie on the hub.

    Raises:
        ModelError: it describes no image classifier.
        WeightsError: the weights or the image processor are missing, or the processor does what we cannot.
    """
    library = _library()
    folder = _folder(base, CONFIG, PROCESSOR, FILES[0])
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        found, hint = "are not there", f"save the model with save_pretrained({base!r})"
        if (folder / INDEX).is_file():
            found, hint = "are in several shards", "save them again with max_shard_size='50GB'"
        raise WeightsError(f"Expected the weights in {folder / FILES[0]}, but they {found}; {hint}.")
    preprocessing = processor_of(base)
    if preprocessing is None:
        raise WeightsError(
            f"Expected {PROCESSOR} in {folder}, but there is none, and nothing else says how images were fed; save it "
            "there with the image processor's own save_pretrained."
        )
    config = _config(library, folder)
    labels = {int(key): str(value) for key, value in config.id2label.items()}
    names = tuple(labels[key] for key in sorted(labels))
    numbered = all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    if len(set(names)) != len(names) or sorted(labels) != list(range(len(labels))):
        raise WeightsError(
            f"Expected a different name for each output in id2label of {folder / CONFIG}, but two are alike or one is "
            "missing; mend the list."
        )
    return Described(
        path=path,
        num_classes=len(names),
        classes=None if numbered else names,
        preprocessing=preprocessing,
    )


def processor_of(base: str) -> Preprocessing | None:
    """Return how the image processor of a folder feeds images; None where there is no processor.

    Pictures that are not square are cut to the centre where the processor would squash them.

    Raises:
        WeightsError: it does what we cannot.
    """
    library = _library()
    folder = _folder(base, CONFIG)
    if not (folder / PROCESSOR).is_file():
        return None
    try:
        processor = library.AutoImageProcessor.from_pretrained(folder, **LOCAL)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        raise WeightsError(
            f"Expected an image processor of transformers in {folder / PROCESSOR}, but it cannot be read "
            f"({reason(error)}); save it again with save_pretrained."
        ) from error
    kind = type(processor).__name__.removesuffix("Fast").removesuffix("ImageProcessor")
    try:
        if kind not in PROCESSORS:
            raise ValueError(f"it is a {type(processor).__name__}")
        return _read(kind, processor.to_dict())
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"Expected an image processor that resizes, crops, divides by 255 and normalises in {folder / PROCESSOR}, "
            f"but it does something else ({reason(error)}); use a model with one of "
            f"{', '.join(f'{each}ImageProcessor' for each in PROCESSORS)}."
        ) from error


def fixed_size(base: str) -> bool:
    """Whether the model takes images of no other size than its processor makes."""
    return str(_config(_library(), _folder(base, CONFIG)).model_type) in ONE_SIZE


def own_names(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights by the names that they have in `model`: transformers renames them between file and network.

    Its own loader does the renaming. What it would draw anew is left out, and what it would pass over stays in, so that
    both are missed as for any other model. Weights of models of other kinds are returned as they are.
    """
    if not type(model).__module__.startswith("transformers.") or model.state_dict().keys() == state.keys():
        return state
    maker: Any = type(model)
    loaded, info = maker.from_pretrained(
        None,
        config=copy.deepcopy(model.config),
        state_dict=dict(state),
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    other = {entry[0]: entry[1] for entry in info["mismatched_keys"]}
    missing, unexpected = set(info["missing_keys"]) - set(other), info["unexpected_keys"]
    renamed = {key: value for key, value in loaded.state_dict().items() if key not in missing}
    renamed |= {key: state[key] if key in state else torch.zeros(shape) for key, shape in other.items()}
    return renamed | {key: state[key] for key in unexpected if key in state}


def pretrained_files(
    model: nn.Module, classes: tuple[str, ...], fed: Preprocessing, metadata: Mapping[str, str]
) -> dict[str, bytes | str]:
    """Return what a folder holds that `from_pretrained` loads, by file name.

    Args:
        model: a classifier of transformers.
        classes: names of its outputs.
        fed: how its images are fed.
        metadata: what its weights file says besides.
    """
    saved: Any = model
    config = saved.config
    named = copy.deepcopy(config)
    named.id2label = dict(enumerate(classes))
    named.label2id = {name: k for k, name in enumerate(classes)}
    saved.config = named
    try:
        with tempfile.TemporaryDirectory() as folder:
            saved.save_pretrained(folder, max_shard_size="1000GB")
            state = load_file(Path(folder) / FILES[0])
            described = (Path(folder) / CONFIG).read_text(encoding="utf-8")
    finally:
        saved.config = config
    return {
        CONFIG: described,
        PROCESSOR: json.dumps(_processor(fed), indent=2) + "\n",
        FILES[0]: save(state, metadata={"format": "pt", **metadata}),  # transformers asks for the format
    }


def _processor(fed: Preprocessing) -> dict[str, Any]:
    """The configuration of the plainest image processor that feeds images in this way."""
    resample = next(code for code, name in RESAMPLING.items() if name == fed.interpolation)
    plain = {
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(fed.mean),
        "image_std": list(fed.std),
        "resample": resample,
        "do_resize": fed.size is not None,
    }
    if fed.size is None:
        return {"image_processor_type": "ViTImageProcessor", **plain}
    square = {"height": fed.size, "width": fed.size}
    return {
        "image_processor_type": "BitImageProcessor",
        **plain,
        "size": {"shortest_edge": round(fed.size / fed.crop)},
        "do_center_crop": True,
        "crop_size": square,
        "do_convert_rgb": fed.channels != 1,
    }


def _read(kind: str, record: Mapping[str, Any]) -> Preprocessing:
    """Read a processor's settings.

    Raises:
        KeyError, TypeError, ValueError: one is missing, or is nothing that we do.
    """
    if not record.get("do_rescale", True) or abs(record.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-3:
        raise ValueError(f"rescale_factor is {record.get('rescale_factor')!r}, do_rescale {record.get('do_rescale')!r}")
    size, crop = _size(kind, record)
    normal = bool(record.get("do_normalize", True))
    return Preprocessing(
        size=size,
        crop=crop,
        interpolation=RESAMPLING[int(record["resample"])] if size is not None else "bilinear",
        mean=tuple(float(value) for value in record["image_mean"]) if normal else (0.0,),
        std=tuple(float(value) for value in record["image_std"]) if normal else (1.0,),
    )


def _size(kind: str, record: Mapping[str, Any]) -> tuple[int | None, float]:
    cut = _square(record["crop_size"]) if record.get("do_center_crop") else None
    if not record.get("do_resize", True):
        if cut is not None:
            raise ValueError("it cuts pictures that it does not resize")
        return None, 1.0
    size = record["size"]
    if kind == "ConvNext":
        shortest = int(size["shortest_edge"])
        # larger ones are squashed, smaller ones resized by whole pixels and cut
        return shortest, 1.0 if shortest >= 384 else shortest / int(shortest / float(record["crop_pct"]))
    if "shortest_edge" in size and cut is None:
        raise ValueError("its pictures keep their own aspect ratio")
    resized = int(size["shortest_edge"]) if "shortest_edge" in size else _square(size)
    if cut is not None and cut > resized:
        raise ValueError(f"it pads pictures of {resized} pixels to {cut}")
    return (resized, 1.0) if cut is None else (cut, cut / resized)


def _square(size: Mapping[str, Any]) -> int:
    if size["height"] != size["width"]:
        raise ValueError(f"its images are {size['height']} x {size['width']}")
    return int(size["height"])


def _folder(base: str, *names: str) -> Path:
    """Return the folder of a model: a local one, or the cache's after fetching the files that are wanted."""
    local = Path(base)
    if local.is_dir():
        if not is_folder(local):
            raise ModelError(
                f"Expected {CONFIG} of transformers in {local}, but there is none; name a folder that save_pretrained "
                "wrote."
            )
        return local
    if not HUB_NAME.fullmatch(base):
        raise ModelError(
            f"Expected a folder that save_pretrained wrote or a name on the hub, but there is no folder {base}; "
            "check the path."
        )
    from huggingface_hub import hf_hub_download

    with fetching(f"{PREFIX}{base}", ModelError):
        places = [Path(hf_hub_download(base, name)) for name in names]  # nosec B615  # the user names it; no code in it is run
    return places[0].parent


def _config(library: ModuleType, folder: Path) -> Any:
    try:
        return library.AutoConfig.from_pretrained(folder, **LOCAL)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"Expected a model of transformers in {folder / CONFIG}, but it cannot be read ({reason(error)}); name a "
            "folder that save_pretrained wrote, of a model that needs no trust_remote_code."
        ) from error


def _library() -> ModuleType:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ModelError(
            f"Expected the package transformers for a model named {PREFIX}..., but it is not installed; "
            'run `pip install "unlearnkit[transformers]"`.'
        ) from error
    return transformers  # type: ignore[no-any-return, unused-ignore]
