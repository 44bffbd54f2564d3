"""What an audit refuses, and that it reads a run's images as the run did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import unlearnkit.audit.observe.relearning as relearn_module
from canonical import CLASSES, CPU, MODELS, tiny_data
from commands import FAST, Outcome, assert_refused, run_cli
from pictures_on_disk import picture
from unlearnkit.audit import METRICS, gather
from unlearnkit.audit.observe.untrained import incompetent
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.models import SmallCNN
from unlearnkit.request import ForgetRequest
from unlearnkit.split import split_for


def looked(models: dict[str, object], **options: object) -> None:
    data = tiny_data()
    split = split_for(ForgetRequest(classes=(2,)), data)
    gather(models, data, split, metrics=[METRICS["accuracy"]], seed=0, runtime=CPU, **options)  # type: ignore[arg-type]


def network() -> nn.Module:
    return MODELS["cnn-grey"].model()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["unlearned"], "one model named 'original'"),
        (["original", "unlearnt"], "one is named 'unlearnt'"),
        (["original", "retrain"], "one is named 'retrain'"),
        (["original", "shadow"], "one is named 'shadow'; name them so, and give shadow models as `shadows`"),
    ],
)
def test_names_of_models_are_checked(names: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        looked({name: network() for name in names})


def test_two_unlearned_models_are_two_audits() -> None:
    with pytest.raises(ConfigError, match="one named 'unlearned' at most"):
        looked({"original": network(), "unlearned": [network(), network()]})


def test_models_of_several_architectures_are_refused() -> None:
    with pytest.raises(ModelError, match="one architecture"):
        looked({"original": network(), "retrained": SmallCNN(4, 1, width=3)})
    with pytest.raises(ModelError, match="one architecture"):
        looked({"original": nn.Identity()})


def test_a_head_that_is_none_is_refused() -> None:
    data = tiny_data()
    split = split_for(ForgetRequest(classes=(2,)), data)
    with pytest.raises(ModelError, match="'nope'"):
        gather(
            {"original": network()}, data, split, metrics=[METRICS["class_recovery"]], seed=0, runtime=CPU, head="nope"
        )


def test_more_classes_than_samples_to_fit_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relearn_module, "FIT_SAMPLES", 2)
    monkeypatch.setattr(relearn_module, "measuring_steps", lambda cap: [1])
    data = tiny_data()
    split = split_for(ForgetRequest(classes=(2,)), data)
    found = gather({"original": network()}, data, split, metrics=[METRICS["relearn_time"]], seed=0, runtime=CPU)
    assert found.subjects[0].relearning is not None


def test_a_layer_that_wants_to_be_told_how_to_reset_stays() -> None:
    class Told(nn.Linear):
        def reset_parameters(self, std: float = 1.0, *, seed: int | None = None) -> None:
            if seed is None:
                super().reset_parameters()

    class Wants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(6))
            self.layer = Told(1, 2)

        def reset_parameters(self, std: float) -> None:
            self.scale.data.fill_(std)

    fresh, drawn = incompetent(Wants())
    assert drawn == pytest.approx(4 / 10)
    assert fresh.scale.tolist() == [1.0] * 6  # type: ignore[operator]


# ---- on the command line -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of which the class `cat` is already gone."""
    where = tmp_path_factory.mktemp("pictures")
    for side, count in (("train", 6), ("test", 2)):
        for k, name in enumerate(CLASSES):
            if name != "cat":
                (where / side / name).mkdir(parents=True)
                for i in range(count):
                    picture(k, i).save(where / side / name / f"{i}.png")
    (where / "classes.txt").write_text("\n".join(CLASSES))
    return where


def forgotten(folder: Path, weights: Path, out: Path, *args: object) -> Outcome:
    data = f"imagefolder:{folder}"
    rest = ("--model", "small-cnn", "--classes", folder / "classes.txt", "--forget", "cat", "--no-audit", *FAST)
    rest = (*rest, "--trust-inputs")  # the weights are untrained
    return run_cli("forget", "--weights", weights, "--data", data, "--out", out, *rest, *args)


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "told"), [(3, ()), (1, ("--channels", "1"))])
def test_a_run_is_audited_with_its_own_classes_and_channels(
    folder: Path, tmp_path: Path, channels: int, told: tuple[str, ...]
) -> None:
    torch.save(SmallCNN(len(CLASSES), channels).state_dict(), tmp_path / "theirs.pt")
    done = forgotten(folder, tmp_path / "theirs.pt", tmp_path / "run", *told)
    assert done.code == 0, done.err
    done = run_cli("audit", tmp_path / "run", "--quick")
    assert done.code == 0, done.err
    assert "evidence: E0" in done.out


def test_one_retrained_model_is_not_three(folder: Path, tmp_path: Path) -> None:
    paths = {}
    for seed, name in enumerate(("original", "unlearned", "retrained")):
        torch.manual_seed(seed)
        paths[name] = tmp_path / f"{name}.pt"
        torch.save(SmallCNN(len(CLASSES), 3).state_dict(), paths[name])
    common = ["audit", "--model", "small-cnn", "--data", f"imagefolder:{folder}", "--classes", folder / "classes.txt"]
    common += ["--forget", "cat", "--original", paths["original"], "--unlearned", paths["unlearned"], "--quick"]
    common += ["--trust-inputs"]  # the weights are untrained
    for twice, said in (
        (("retrained", "retrained"), "another retrained model's file"),
        (("retrained", "original"), "the original's file"),
        (("retrained", "unlearned"), "the unlearned model's file"),
    ):
        retrained = [part for name in twice for part in ("--retrained", paths[name])]
        assert_refused(run_cli(*common, *retrained, "--out", tmp_path / "out"), said)
        assert not (tmp_path / "out").exists()
