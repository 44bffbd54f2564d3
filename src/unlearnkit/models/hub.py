"""Resolves weights on the Hugging Face hub, `hf-hub:ORG/NAME[@REVISION]`, to a file, a model name and a class list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import ConfigError, WeightsError, reason
from unlearnkit.models.fetch import fetching
from unlearnkit.models.names import PLAIN
from unlearnkit.models.preprocessing import OwnPreprocessing, from_config
from unlearnkit.models.timm_zoo import pooling_of
from unlearnkit.models.transformers_zoo import PREFIX as TRANSFORMERS
from unlearnkit.models.transformers_zoo import describe, fixed_size, is_folder

PREFIX = "hf-hub:"
WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """A weights file, and what its hub page says of the model (None where it says nothing).

    Args:
        path: the weights file.
        model: name to build the architecture with, `timm:...` or `transformers:...`.
        num_classes: width of the output.
        classes: class names in the order of the outputs.
        preprocessing: how the images were fed.
    """

    path: Path
    model: str | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] | None = None
    preprocessing: OwnPreprocessing | None = None


def resolve_weights(text: str) -> WeightsSource:
    """Return the file of a path, or that of `hf-hub:ORG/NAME[@REVISION]` after the download.

    A folder that transformers' `save_pretrained` wrote, and `transformers:DIR_OR_NAME`, say all about their weights.

    `model.safetensors` is fetched, and `config.json` where there is one; a cached copy serves without a network.

    Raises:
        WeightsError: they cannot be fetched, `config.json` is damaged, or is that of a model of transformers.
    """
    if text.startswith(TRANSFORMERS):
        return _of_transformers(text.removeprefix(TRANSFORMERS))
    if not text.startswith(PREFIX):
        return _of_transformers(text) if is_folder(Path(text)) else WeightsSource(path=Path(text))
    repository, at, revision = text.removeprefix(PREFIX).partition("@")
    if repository.count("/") != 1 or (at and not revision):
        raise WeightsError(
            f"Expected hf-hub:ORG/NAME or hf-hub:ORG/NAME@REVISION, but got {text!r}; name it as its page does."
        )
    path = _download(repository, WEIGHTS, revision or None, text)
    config = _optional_config(repository, revision or None, text)
    return WeightsSource(path=path) if config is None else _described(path, config, text)


def _of_transformers(base: str) -> WeightsSource:
    said = describe(base)
    place = Path(base).absolute() if Path(base).is_dir() else base
    own = OwnPreprocessing(preprocessing=said.preprocessing, fixed_size=fixed_size(base))
    return WeightsSource(
        path=said.path,
        model=f"{TRANSFORMERS}{place}",
        num_classes=said.num_classes,
        classes=said.classes,
        preprocessing=own,
    )


def _download(repository: str, name: str, revision: str | None, text: str) -> Path:
    from huggingface_hub import hf_hub_download

    with fetching(f"{name} of {text}", WeightsError):
        return Path(hf_hub_download(repository, name, revision=revision))


def _optional_config(repository: str, revision: str | None, text: str) -> dict[str, Any] | None:
    """Return the config, or None where the repository (offline: the cache) has none."""
    from huggingface_hub import errors

    try:
        path = _download(repository, CONFIG, revision, text)
    except WeightsError as error:
        if isinstance(error.__cause__, errors.EntryNotFoundError):
            return None
        raise
    try:
        config = parse_json(path.read_bytes())
    except ValueError as error:
        raise _damaged(text, reason(error)) from error
    if not isinstance(config, dict):
        raise _damaged(text, f"it holds a {type(config).__name__}")
    return config


def _described(path: Path, config: dict[str, Any], text: str) -> WeightsSource:
    """Read timm's hub config; the config of another tool, without `architecture`, describes nothing.

    Raises:
        WeightsError: the config is damaged, or that of a model of transformers.
    """
    architecture = config.get("architecture")
    if architecture is None and "model_type" in config:
        name = text.removeprefix(PREFIX).partition("@")[0]
        raise WeightsError(
            f"Expected weights of timm or of a network of your own at {text}, but its {CONFIG} is that of a model of "
            f"transformers; give --weights {TRANSFORMERS}{name}, which reads its image processor and class names too."
        )
    if architecture is None:
        return WeightsSource(path=path)
    # the file is a stranger's: an address or an option in the architecture would be one in the model's name
    if not isinstance(architecture, str) or not PLAIN.fullmatch(architecture):
        raise _damaged(text, f"architecture is {architecture!r}")
    arguments = config.get("model_args") or {}
    width, labels = config.get("num_classes"), config.get("label_names")
    if not isinstance(arguments, dict) or not all(str(key).isidentifier() for key in arguments):
        raise _damaged(text, f"model_args is {arguments!r}")
    if width is not None and not (isinstance(width, int) and width > 0):
        raise _damaged(text, f"num_classes is {width!r}")
    if labels is not None and not (
        isinstance(labels, list)
        and all(isinstance(label, str) for label in labels)
        and len(set(labels)) == len(labels) == (width or len(labels))
    ):
        raise _damaged(text, "label_names is no list of one different name for each class")
    own = {key: value for key, value in arguments.items() if key not in ("num_classes", "in_chans")}
    pooling = config.get("global_pool")
    if isinstance(pooling, str) and "global_pool" not in own and pooling not in ("", pooling_of(architecture, own)):
        own["global_pool"] = pooling  # recorded beside the options, and it changes no weight that would tell
    model = ",".join([f"timm:{architecture}", *(f"{key}={value!r}" for key, value in own.items())])
    try:
        preprocessing = from_config(config.get("pretrained_cfg") or {}, own)
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise _damaged(text, f"pretrained_cfg: {reason(error)}") from error
    return WeightsSource(
        path=path,
        model=model,
        num_classes=width,
        classes=tuple(labels) if labels else None,
        preprocessing=preprocessing,
    )


def _damaged(text: str, why: str) -> WeightsError:
    return WeightsError(
        f"Expected config.json of {text} to describe a model of timm, but it is damaged ({why}); "
        "download model.safetensors by hand and give --model."
    )
