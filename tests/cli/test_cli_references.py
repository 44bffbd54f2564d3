"""Models to judge by: retrained ones and an attacker's shadows, told apart and checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from commands import WEIGHTS, Outcome, assert_refused, forget, read, run_cli, tree
from unlearnkit.steps.verify import verify_run


def test_retrained_weights_must_lack_just_the_forgotten_classes(
    weights: Path, narrow_retrained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for reference, words in ((weights, "none"), (narrow_retrained / WEIGHTS, "'3'")):
        refused = forget("--forget", 5, "--retrained", reference, weights=weights, out=out)
        assert_refused(refused, "retrained without '5'", words, "--exclude 5")
    assert tree(tmp_path) == {}


def moved(weights: Path, out: Path, seed: int) -> Path:
    """The same weights file with every tensor a little moved."""
    state, generator = load_file(weights), torch.Generator().manual_seed(seed)
    state |= {key: v + 0.01 * torch.randn(v.shape, generator=generator) for key, v in state.items() if v.ndim}
    with safe_open(weights, framework="pt") as file:
        save_file(state, out, metadata=file.metadata())
    return out


@pytest.fixture
def pair(weights: Path, audited: Path) -> tuple[object, ...]:
    told = ("--data", "digits", "--quick", "--device", "cpu")
    return ("audit", "--original", weights, "--unlearned", audited / WEIGHTS, *told)


@pytest.mark.slow
def test_shadows_are_an_attackers_and_are_told_apart(
    pair: tuple[object, ...], audited: Path, narrow_retrained: Path, tmp_path: Path
) -> None:
    retrained = [moved(narrow_retrained / WEIGHTS, tmp_path / f"r{i}.safetensors", i) for i in range(3)]
    shadows = [moved(audited / WEIGHTS, tmp_path / f"s{i}.safetensors", 3 + i) for i in range(2)]
    judges = [arg for path in retrained for arg in ("--retrained", path)]
    judges += [arg for path in shadows for arg in ("--shadow", path)]
    out = tmp_path / "out"
    done = run_cli(*pair, "--forget", "3", *judges, "--out", out)
    assert done.code == 0, done.err
    content = read(out, "audit.json")
    assert [Path(each["path"]).name for each in content["shadows"]] == ["s0.safetensors", "s1.safetensors"]
    values = {(r["model"], r["replicate"]): r for r in content["readings"] if r["metric"] == "membership_u_lira"}
    assert set(values) == {("unlearned", 0), ("retrained", 0), ("retrained", 1), ("retrained", 2)}
    assert values["unlearned", 0]["value"] > 0.8 > 0.5 > max(values["retrained", i]["value"] for i in range(3))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Taken for unlearned, by U-LiRA" in page
    assert "s1.safetensors" in page
    named = {file["name"]: file["state"] for file in verify_run(out)["files"]}
    assert named[str(shadows[1])] == "matches"


def test_models_to_judge_by_are_what_they_are_given_as(
    pair: tuple[object, ...], audited: Path, narrow_retrained: Path, tmp_path: Path
) -> None:
    first = moved(narrow_retrained / WEIGHTS, tmp_path / "first.safetensors", 0)
    other = Path(shutil.copytree(audited, tmp_path / "other"))  # a run of the same method on the same original
    moved(audited / WEIGHTS, other / WEIGHTS, 1)
    before = tree(tmp_path)

    def refused(*options: object, forget: int = 3) -> Outcome:
        return run_cli(*pair, "--forget", forget, *options, "--out", tmp_path / "out")

    twice = refused("--retrained", first, "--shadow", first)
    assert_refused(twice, "made separately", f"the same as {first}, another retrained model's")
    assert_refused(refused("--shadow", audited / WEIGHTS), "the unlearned model's")
    advice = "unlearnkit forget --forget 5"
    assert_refused(
        refused("--shadow", first, forget=5), "a shadow model that forgot '5'", "an original of its own", advice
    )
    assert_refused(refused("--retrained", other / WEIGHTS), "was made by `unlearnkit forget` with unsir")
    assert_refused(refused("--shadow", narrow_retrained / WEIGHTS), "was made by `unlearnkit train`", "--retrained")
    assert_refused(refused("--shadow", other / WEIGHTS), "was made from that of the model that is audited")
    config = (other / "config.json").read_bytes()
    settings = json.loads(config)["settings"] | {"alpha": 7}
    (other / "config.json").write_text(json.dumps(json.loads(config) | {"settings": settings}))
    changed = run_cli("audit", audited, "--quick", "--shadow", other / WEIGHTS)
    assert_refused(changed, "made as the audited one, by unsir with the same settings")
    (other / "config.json").write_bytes(config)
    assert tree(tmp_path) == before
