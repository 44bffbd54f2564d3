"""Opens the reference models of an audit: retrained models, and shadow models made by the same method."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from torch import nn

from unlearnkit.audit.reading import ModelName
from unlearnkit.errors import ModelError, SeveralWeightsError, WeightsError
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json
from unlearnkit.steps.case import Case

Opened = Sequence[tuple[Checkpoint, nn.Module]]
Costs = dict[tuple[ModelName, int], Mapping[str, Any]]
Kind = Literal["retrained", "shadow"]


def open_references(
    case: Case,
    retrained: Sequence[Path],
    shadows: Sequence[Path],
    *,
    judged: Checkpoint | None = None,
    procedure: Mapping[str, Any] | None = None,
) -> tuple[Opened, Opened]:
    """Open the reference models; each must have the original's architecture and must lack exactly the same classes.

    Retrained models never saw the classes; from shadows the method removed them, each from an original of its own. The
    same weights twice would make either look more alike than they are, and the original or the model to be judged
    among them would be held against itself. What made a file is known where a run folder is around it; nothing can be
    said of other files.

    Args:
        case: the original, its data, and what was to be forgotten.
        retrained, shadows: weights files.
        judged: weights after forgetting, where they are a file.
        procedure: method and settings that made them, as `config.json` has them, where they are known.

    Raises:
        ModelError: a file is no such model, or is given twice, or is that of the original or of the model `judged`.
        ConfigError, WeightsError: the weights cannot be read, or do not fit.
    """
    owners = {case.checkpoint.sha256: "the original's"} | ({judged.sha256: "the unlearned model's"} if judged else {})
    origins = {case.checkpoint.sha256: "the model that is audited"}
    opened: dict[Kind, list[tuple[Checkpoint, nn.Module]]] = {"retrained": [], "shadow": []}
    paths: list[tuple[Kind, Path]] = [("retrained", path) for path in retrained]
    for kind, path in [*paths, *(("shadow", path) for path in shadows)]:
        with _one_set_of(path, kind):
            checkpoint = read_checkpoint(path)
        _check_left_out(kind, checkpoint, case)
        if checkpoint.sha256 in owners:
            raise ModelError(
                f"Expected retrained and shadow models that were made separately, but {path} is "
                f"{owners[checkpoint.sha256]} file; give each once, made with a seed of its own."
            )
        owners[checkpoint.sha256] = f"the same as {path}, another {kind} model's"
        _check_origin(kind, path, origins, procedure)
        with _one_set_of(path, kind):
            opened[kind].append((checkpoint, case.with_weights(checkpoint)))
    return opened["retrained"], opened["shadow"]


@contextmanager
def _one_set_of(path: Path, kind: Kind) -> Iterator[None]:
    """Say what to do about a file with several sets of weights, as --weights-key is for the original."""
    try:
        yield
    except SeveralWeightsError as error:
        raise WeightsError(
            f"Expected one set of weights, but {path} holds several ({', '.join(error.keys)}), and --weights-key is "
            "for the model before forgetting alone; write the tensors of one of them to a file of its "
            f"own with torch.save, and give that with --{kind}."
        ) from error


def cost_beside(retrained: Opened, original: Path, *, unlearned: Mapping[str, Any] | None = None) -> Costs:
    """Return the costs recorded beside the weights of the original, the retrained and the unlearned model."""
    costs: Costs = {} if unlearned is None else {("unlearned", 0): unlearned}
    places: list[tuple[ModelName, int, Path]] = [("original", 0, original)]
    places += [("retrained", i, checkpoint.path) for i, (checkpoint, _) in enumerate(retrained)]
    for name, replicate, path in places:
        if not (path.parent / MANIFEST).is_file() or not (path.parent / "cost.json").is_file():
            continue  # weights of another tool; a cost.json of theirs means something else
        costs[name, replicate] = read_json(path.parent, "cost.json", "total")["total"]
    return costs


def _check_left_out(kind: Kind, checkpoint: Checkpoint, case: Case) -> None:
    """Refuse weights that record other classes or rows as left out or forgotten than this audit needs."""
    data, request = case.data, case.split.request
    forget, earlier = ([data.classes[k] for k in ids] for ids in (request.forget, request.already_forgotten))
    if checkpoint.card is None:
        return
    wanted = {digest for rows in case.rows.forgotten() for digest in rows.sha256}
    left_out = {digest for rows in checkpoint.card.forgotten_rows for digest in rows.sha256}
    if wanted != left_out:
        raise ModelError(
            f"Expected a {'model retrained' if kind == 'retrained' else 'shadow model made'} without the {len(wanted)} "
            f"rows that the request names or that were forgotten before, but {checkpoint.path} records "
            f"{len(left_out)} rows, {len(wanted & left_out)} of them the same; train one with `unlearnkit train "
            "--exclude-rows FILE`, or with `unlearnkit retrain --of RUN`."
        )
    if set(checkpoint.card.forgotten) == {*forget, *earlier}:
        return
    absent = ", ".join(map(repr, checkpoint.card.forgotten)) or "none"
    names = ", ".join(map(repr, sorted([*forget, *earlier])))
    if kind == "retrained":
        expected, class_options = (
            "model retrained without",
            [("--exclude", class_name) for class_name in sorted([*forget, *earlier])],
        )
        advice = "train one with `unlearnkit train"
    else:
        expected = "shadow model that forgot"
        class_options = [("--forget", class_name) for class_name in forget] + [
            ("--already-forgotten", class_name) for class_name in earlier
        ]
        advice = "make one from an original of its own with `unlearnkit forget"
    options = " ".join(f"{option} {shlex.quote(class_name)}" for option, class_name in class_options)
    raise ModelError(
        f"Expected a {expected} {names}, but {checkpoint.path} records that the classes left out or forgotten were: "
        f"{absent}; {advice} {options}`."
    )


def _check_origin(kind: Kind, path: Path, origins: dict[str, str], procedure: Mapping[str, Any] | None) -> None:
    """Refuse weights whose run folder says that they are of another kind; note each shadow model's original."""
    if path.name != WEIGHTS or not (path.parent / MANIFEST).is_file():
        return
    config = read_json(path.parent, "config.json", "kind")
    method = config.get("method") if config["kind"] == "forget" else None
    if kind == "retrained":
        if method not in (None, "retrain"):
            raise ModelError(
                f"Expected a model that was retrained, but {path} was made by `unlearnkit forget` with {method}; "
                "train one with `unlearnkit train --exclude CLASS`."
            )
        return
    if method is None:
        raise ModelError(
            f"Expected a shadow model, made by the method, but {path} was made by `unlearnkit {config['kind']}`; "
            "give retrained models with --retrained."
        )
    if procedure is not None and any(config.get(key) != procedure.get(key) for key in ("method", "settings")):
        raise ModelError(
            f"Expected a shadow model made as the audited one, by {procedure.get('method')} with the same settings, "
            f"but {path} was made by {method}, or with other settings; make it in the same way."
        )
    for digest in read_json(path.parent, MANIFEST, "inputs")["inputs"].values():
        if digest in origins:
            raise ModelError(
                f"Expected shadow models made from an original each, but {path} was made from that of "
                f"{origins[digest]}; train another original with a seed of its own."
            )
        origins[digest] = str(path)
