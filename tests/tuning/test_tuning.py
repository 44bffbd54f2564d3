"""Tuning: a planted best setting is found, within a budget, from nothing that the tuner may not read."""

from __future__ import annotations

import copy
import json
import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

from canonical import CLASSES, CPU, tiny_data
from commands import Outcome, run_cli
from unlearnkit.data import AccessLog, DataView
from unlearnkit.data.sources.registry import load_data
from unlearnkit.errors import AccessError, ConfigError, DataError, NonFiniteLossError
from unlearnkit.methods import UNSIR, ConfiguredMethod, Context, HeadMask, NegGrad, Retrain
from unlearnkit.methods.registry import METHODS, make_method
from unlearnkit.methods.space import Range, Space
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part, split_for
from unlearnkit.steps.opening import open_model
from unlearnkit.tuning import Tuned, tune
from unlearnkit.tuning.inversion import invert
from unlearnkit.tuning.optimise import optimise
from unlearnkit.tuning.scoring import INVERTED, Judge, Signal

GONE = 2  # "cat"
REQUEST = ForgetRequest(classes=(CLASSES[GONE],))
PER_CLASS = 40  # two of them are held out for validation


class Brightness(nn.Module):
    """Tells the classes of `tiny_data` by the mean of the pixels, without any training."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, len(CLASSES))
        centres = ((60 + 135 * torch.arange(len(CLASSES)) / len(CLASSES)) / 255 - 0.5) / 0.25
        with torch.no_grad():
            self.head.weight.copy_(80 * centres[:, None])
            self.head.bias.copy_(-40 * centres.square())

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean(dim=(2, 3)))


class Dial(ConfiguredMethod):
    """Turned up, it first forgets (from about 12 on) and then (from 30 on) harms what is to be kept."""

    strength: float = Field(default=0.1, gt=0)
    breaks: float = Field(default=math.inf, allow_inf_nan=True)
    reads: Part = Part.RETAIN_TRAIN

    @classmethod
    def presets(cls) -> dict[str, Callable[[], Self]]:
        return {"default": cls}

    @property
    def needs(self) -> frozenset[Part]:
        return frozenset({self.reads})

    def space(self) -> Space:
        return {"strength": Range(0.1, 1000.0)}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        if self.strength > self.breaks:
            raise NonFiniteLossError("too strong")
        samples = ctx.view.part(self.reads)
        model(samples.images(torch.arange(5)))
        bias = model.head.bias.data
        bias[list(ctx.request.forget)] -= self.strength
        bias[ctx.request.retained[0]] += max(0.0, self.strength - 30)
        return model


def search(method: ConfiguredMethod | None = None, *, trials: int = 30, seed: int = 0, **options: Any) -> Tuned:
    data = options.pop("data", None) or tiny_data(per_class=PER_CLASS)
    return tune(Brightness(), method or Dial(), data, REQUEST, trials=trials, seed=seed, runtime=CPU, **options)


def reads(tuned: Tuned) -> dict[str, int]:
    """Samples that were read of each part, whoever read them."""
    parts: Any = tuned.access.summary(tuned.split)["parts"]
    assert not any(counts["read_by_audit"] for part in parts.values() for counts in part.values())
    return {name: sum(counts["read_by_method"] for counts in part.values()) for name, part in parts.items()}


def as_found(tuned: Tuned) -> list[dict[str, Any]]:
    """The trials without the seconds and the memory, which differ from run to run."""
    trials = [asdict(trial) for trial in tuned.trials]
    for trial in trials:
        for key in ("seconds", "peak_memory_bytes"):
            (trial["cost"] or {}).pop(key, None)
    return trials


def proposals(seed: int, trials: int = 40) -> list[tuple[dict[str, float], float]]:
    """What is proposed for a score with its best at lr 0.02 and 4 epochs."""
    found: list[tuple[dict[str, float], float]] = []

    def score(values: Any) -> float:
        value = -(math.log10(values["lr"] / 0.02) ** 2) - (values["epochs"] - 4) ** 2 / 10
        found.append((dict(values), value))
        return value

    optimise(score, {"lr": Range(1e-5, 1.0), "epochs": Range(1, 10)}, trials=trials, seed=seed)
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_search_finds_a_planted_optimum_and_better_than_its_random_start(seed: int) -> None:
    found = proposals(seed)
    assert len(found) == 40
    best, value = max(found, key=lambda pair: pair[1])
    assert 0.005 < best["lr"] < 0.08
    assert abs(best["epochs"] - 4) <= 1
    assert value > max(score for _, score in found[:10])


def test_proposals_follow_the_seed_and_can_be_written_down() -> None:
    assert proposals(3, 14) == proposals(3, 14) != proposals(4, 14)
    for values, _ in proposals(5, 14):
        assert isinstance(values["epochs"], int)
        assert 1 <= values["epochs"] <= 10
        assert 1e-5 <= values["lr"] <= 1.0
        assert float(f"{values['lr']:.4g}") == values["lr"]


@pytest.mark.parametrize("part", [Part.RETAIN_TRAIN, Part.FORGET_TRAIN])
def test_the_best_strength_of_a_method_is_found_by_either_signal(part: Part) -> None:
    tuned = search(Dial(reads=part))
    assert tuned.signal is (Signal.SAMPLES if part.forgotten else Signal.INVERTED)
    assert tuned.trials[0].settings == ()
    assert tuned.trials[0].score is not None
    assert tuned.trials[0].score < -0.9  # as given, nothing is forgotten
    best = tuned.trials[tuned.best]
    assert best.score == max(trial.score for trial in tuned.trials if trial.score is not None)
    assert best.score is not None
    assert best.score > -0.05
    assert isinstance(tuned.method, Dial)
    assert 8 < tuned.method.strength < 60
    assert best.settings == (f"strength={tuned.method.strength}",)


def test_too_little_and_too_much_both_score_low_and_the_formula_holds() -> None:
    for trial in search(Dial(reads=Part.FORGET_TRAIN)).trials:
        judged, strength = trial.judged, float(trial.settings[0].partition("=")[2]) if trial.settings else 0.1
        assert judged is not None
        assert judged.left == pytest.approx((judged.recognised + judged.mass) / 2)
        assert trial.score == pytest.approx(judged.retained - 1.0 - judged.left)  # the original knows every image
        assert trial.score is not None
        if strength < 5 or strength > 100:
            assert trial.score < -0.3, trial


def test_the_same_seed_gives_the_same_trials() -> None:
    first = search(trials=12, seed=5)
    assert as_found(first) == as_found(search(trials=12, seed=5))
    assert as_found(first) != as_found(search(trials=12, seed=6))


def test_the_model_and_the_global_random_state_are_as_before() -> None:
    model, state = Brightness(), torch.get_rng_state()
    before = copy.deepcopy(model.state_dict())
    tune(model, Dial(), tiny_data(per_class=PER_CLASS), REQUEST, trials=2, seed=0, runtime=CPU)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not model._forward_hooks


def test_zero_glance_stays_zero_glance() -> None:
    tuned = search(trials=3, data=tiny_data(per_class=PER_CLASS, forbidden=(GONE,)))  # decoding one fails the test
    assert tuned.access.forget_samples_read(tuned.split) == 0
    assert tuned.access.summary(tuned.split)["forget_samples_decoded"] == 0
    assert reads(tuned)["retain_val"] == 2 * (len(CLASSES) - 1)


def test_a_methods_own_search_is_off_while_it_is_tuned_unless_asked_for() -> None:
    """It would choose by the validation samples that the trials are judged by."""
    method = UNSIR(retain_per_class=4, noise=None)
    plain = search(method, trials=2)
    assert (plain.beforehand, plain.method) == (("search=none",), plain.method.model_copy(update={"search": None}))
    kept = search(method, trials=2, fixed=["search.attempts"])
    assert kept.beforehand == ()
    assert isinstance(kept.method, UNSIR)
    assert kept.method.search == method.search
    assert search(trials=2).beforehand == ()


@pytest.mark.slow
def test_the_command_of_a_method_that_searches_switches_that_off(digits_run: Path, tmp_path: Path) -> None:
    done = tuning(
        "--method",
        "unsir",
        "--trials",
        "2",
        "--set",
        "noise=none",
        "--json",
        "-q",
        weights=digits_run,
        out=tmp_path / "tuned",
    )
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["settings"][:2] == ["noise=none", "search=none"]
    assert "--set search=none" in result["command"]


def test_forgotten_samples_are_looked_at_on_demand_and_that_is_counted() -> None:
    tuned = search(trials=3, look_at_forgotten=True)
    assert tuned.signal is Signal.SAMPLES
    assert reads(tuned)["forget_train"] == tuned.access.forget_samples_read(tuned.split) == PER_CLASS


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("part", [Part.RETAIN_TRAIN, Part.FORGET_TRAIN])
def test_test_data_are_never_read(part: Part, look: bool) -> None:
    data = tiny_data(per_class=PER_CLASS)
    found = reads(search(Dial(reads=part), trials=3, look_at_forgotten=look, data=data))
    assert found["retain_test"] == found["forget_test"] == 0
    assert not data.test.decoded.any()
    assert found["retain_val"]
    assert found["retain_train"] + found["forget_train"] >= 5  # the method's own reads are counted too


@pytest.mark.parametrize("signal", list(Signal))
def test_a_judge_is_not_handed_any_other_part(signal: Signal) -> None:
    view, split = judge_view(signal)
    for part in set(Part) - signal.parts:
        with pytest.raises(AccessError):
            view.part(part)
    assert not any(part.side == "test" for part in signal.parts)
    assert Part.RETAIN_VAL in signal.parts
    assert len(split[Part.RETAIN_VAL])


def judge_view(signal: Signal, request: ForgetRequest = REQUEST) -> tuple[DataView, Any]:
    data = tiny_data(per_class=PER_CLASS)
    split = split_for(request, data)
    data.fix_shape(0)
    log = AccessLog(data)
    return DataView(data, split, signal.parts, reader="method", log=log, device=CPU.device), split


def judge(signal: Signal, request: ForgetRequest = REQUEST) -> Judge:
    view, split = judge_view(signal, request)
    return Judge(Brightness(), view, split.request, signal=signal, seed=0, runtime=CPU, log=RunLog(CPU))


@pytest.mark.parametrize("signal", list(Signal))
def test_the_judge_tells_the_original_from_a_model_that_has_forgotten(signal: Signal) -> None:
    judging = judge(signal)
    assert judging.before.retained == 1.0
    assert judging.before.left > 0.9
    forgetful = Brightness()
    forgetful.head.bias.data[GONE] = -1e4
    judged = judging.judge(forgetful)
    assert (judged.retained, judged.left, judged.recognised, judged.mass) == (1.0, 0.0, 0.0, 0.0)


def test_not_knowing_anything_is_no_proof_of_forgetting() -> None:
    judging, lost = judge(Signal.INVERTED), Brightness()
    lost.head.weight.data.zero_()
    lost.head.bias.data = torch.tensor([0.0, 0.0, 50.0, 0.0])  # always the forgotten class, so nothing else is kept
    assert judging.judge(lost).kept == pytest.approx(0, abs=1e-9)
    assert judging.judge(lost).left == 1.0
    lost.head.bias.data = torch.tensor([0.0, 0.0, 0.0, 9.0])  # always the same retained class
    judged = judging.judge(lost)
    assert judged.kept is not None
    assert (judged.recognised + judged.mass) / 2 < 1e-3 < judged.kept < 0.5
    assert judged.left == pytest.approx((judged.recognised + judged.mass) / 2 / judged.kept, rel=1e-6)


@pytest.mark.parametrize("signal", list(Signal))
def test_classes_forgotten_earlier_count_as_forgotten(signal: Signal) -> None:
    """What is given to a class that was forgotten before is left, too."""
    earlier = ForgetRequest(classes=(CLASSES[GONE],), already_forgotten=(CLASSES[0],))
    elsewhere = Brightness()
    elsewhere.head.bias.data[0] += 1e4
    for request, left in ((earlier, 1.0), (REQUEST, 0.0)):
        judged = judge(signal, request).judge(elsewhere)
        assert (judged.recognised, judged.mass) == (left, left)


@pytest.mark.parametrize("signal", list(Signal))
def test_outputs_that_are_no_numbers_are_not_judged(signal: Signal) -> None:
    judging, blown = judge(signal), Brightness()
    blown.head.weight.data.fill_(3e38)
    with pytest.raises(NonFiniteLossError, match="the model gives NaN or infinity"):
        judging.judge(blown)
    masked = Brightness()
    masked.head.bias.data[GONE] = -torch.inf  # a mask of a class is no such output
    assert judging.judge(masked).left == 0.0


def test_the_retained_accuracy_of_the_original_is_taken_without_the_forgotten_outputs() -> None:
    judging, greedy = judge(Signal.SAMPLES), Brightness()
    greedy.head.bias.data[GONE] += 1e4
    assert judging.judge(greedy).retained == 0.0
    assert judging.judge(greedy, masked=True).retained == 1.0


def test_inverted_images_are_what_they_should_be_and_the_model_is_left_alone() -> None:
    model = Brightness()
    before = copy.deepcopy(model.state_dict())
    targets = torch.arange(len(CLASSES)).repeat_interleave(4)

    def made(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        starts = torch.zeros(len(targets), 1, 8, 8)
        return invert(model, starts, targets, generator=generator, runtime=CPU, log=RunLog(CPU))

    assert (model(made(0)).argmax(dim=1) == targets).all()
    assert torch.equal(made(0), made(0))
    assert not torch.equal(made(0), made(1))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_costs_are_those_of_all_runs_and_of_the_judge() -> None:
    tuned = search(trials=4)
    stages = tuned.cost["stages"]
    assert [trial.cost.samples_forward for trial in tuned.trials if trial.cost] == [5] * 4
    assert stages["trials"]["samples_forward"] == 20
    assert stages["remake"]["samples_backward"] == 2 * INVERTED * 40
    # validation and inverted images, for the original and after each run
    assert stages["judge"]["samples_forward"] == 5 * (6 + 2 * INVERTED)
    assert tuned.cost["total"]["samples_forward"] == sum(stage["samples_forward"] for stage in stages.values())


def test_a_run_that_fails_is_a_trial_that_is_not_chosen() -> None:
    tuned = search(Dial(breaks=5.0, reads=Part.FORGET_TRAIN))
    failed = [trial for trial in tuned.trials if trial.failure]
    assert failed
    assert len(tuned.trials) == 30
    assert all(trial.score is None and trial.cost is None and trial.failure == "too strong" for trial in failed)
    assert isinstance(tuned.method, Dial)
    assert tuned.method.strength <= 5.0
    with pytest.raises(NonFiniteLossError, match=r"all failed; .*too strong"):
        search(Dial(breaks=0.01), trials=3)


def test_a_run_whose_outputs_are_no_numbers_is_a_failed_one_and_its_reads_count() -> None:
    """Finite weights can be too large to compute with, which the run itself does not notice."""

    class Blown(Dial):
        def run(self, model: nn.Module, ctx: Context) -> nn.Module:
            if self.strength > 5:
                return super().run(model, ctx)
            ctx.view.part(self.reads).images(torch.arange(10, 20))
            model.head.weight.data.fill_(3e38)
            return model

    tuned = search(Blown(reads=Part.FORGET_TRAIN), trials=8)
    first = tuned.trials[0]
    assert (first.score, first.judged, first.cost) == (None, None, None)
    assert first.failure is not None
    assert "outputs" in first.failure
    assert tuned.best > 0
    alone = search(Blown(reads=Part.RETAIN_TRAIN, strength=10.0), trials=12)
    failed = [trial for trial in alone.trials if trial.failure]
    assert failed
    assert reads(alone)["retain_train"] == 15


def test_the_worst_of_all_scores_is_still_better_than_a_failure() -> None:
    class Hopeless(Dial):
        def run(self, model: nn.Module, ctx: Context) -> nn.Module:
            if self.strength != 0.1:
                raise NonFiniteLossError("too strong")
            model(ctx.view.part(self.reads).images(torch.arange(5)))
            model.head.weight.data.zero_()
            model.head.bias.data = torch.tensor([0.0, 0.0, 1e3, 0.0])
            return model

    tuned = search(Hopeless(reads=Part.FORGET_TRAIN), trials=3)
    assert (tuned.best, tuned.trials[0].score) == (0, -2.0)


def test_of_equals_the_cheapest_wins() -> None:
    class Wasteful(Dial):
        def run(self, model: nn.Module, ctx: Context) -> nn.Module:
            samples = ctx.view.part(self.reads)
            for _ in range(1 + int(self.strength) % 7):
                model(samples.images(torch.arange(5)))
            return model

    tuned = search(Wasteful(strength=6.0), trials=20)
    costs = [trial.cost.samples_forward for trial in tuned.trials if trial.cost]
    assert len({trial.score for trial in tuned.trials}) == 1
    assert costs[tuned.best] == min(costs) < costs[0]


def test_every_trial_starts_from_the_same_seed() -> None:
    seeds: list[tuple[int, int]] = []

    class Drawn(Dial):
        def run(self, model: nn.Module, ctx: Context) -> nn.Module:
            seeds.append((ctx.generator.initial_seed(), torch.initial_seed()))
            return super().run(model, ctx)

    search(Drawn(), trials=4, seed=9)
    assert seeds == [(9, 9)] * 4


def test_names_that_stay_fixed_must_be_settings() -> None:
    with pytest.raises(ConfigError, match="'strenght', which is unknown; did you mean strength"):
        search(fixed=["strenght"])
    assert search(UNSIR(retain_per_class=4), trials=2, fixed=["impair", "search.attempts"]).space


def test_what_cannot_be_tuned_is_refused() -> None:
    for method in (Retrain(), HeadMask()):
        with pytest.raises(ConfigError, match="no setting to tune"):
            search(method)
    with pytest.raises(ConfigError, match="all that could be tuned is given"):
        search(fixed=["strength"])
    with pytest.raises(ConfigError, match=r"two trials or more.* got 1"):
        search(trials=1)
    with pytest.raises(ConfigError, match="no test data, but it reads forget_test"):
        search(Dial(reads=Part.FORGET_TEST))
    with pytest.raises(ConfigError, match="seed"):
        search(seed=-1)


def test_data_that_are_not_there_are_missed_at_once() -> None:
    gone = tiny_data(classes=CLASSES[:3], per_class=PER_CLASS).with_classes(CLASSES)
    request = ForgetRequest(classes=("dog",))

    def start(method: ConfiguredMethod, **options: Any) -> Tuned:
        return tune(Brightness(), method, gone, request, trials=2, seed=0, runtime=CPU, **options)

    with pytest.raises(DataError, match="forget_train, which neggrad reads") as refused:
        start(NegGrad())
    proposed = str(refused.value).partition("does without (")[2]
    assert "unsir, erase, finetune" in proposed
    assert "retrain" not in proposed  # there is nothing to tune
    with pytest.raises(DataError, match="forget_train to tune by"):
        start(Dial(), look_at_forgotten=True)
    assert not gone.train.decoded.any()
    assert start(Dial()).signal is Signal.INVERTED  # a class whose data are gone can be tuned for
    with pytest.raises(DataError, match="retain_val to tune by"):
        search(data=tiny_data(per_class=1))


def test_every_space_fits_its_method_and_holds_its_defaults() -> None:
    spaces = {name: kind().space() for name, kind in METHODS.items()}
    assert {name for name, space in spaces.items() if not space} == {"retrain", "original", "head-mask"}
    for name, kind in METHODS.items():
        assert not spaces[name] or 2 <= len(spaces[name]) <= 4, name
        for preset, make in kind.presets().items():
            given = {setting["name"]: setting["value"] for setting in make().described_settings()}
            for setting, bounds in make().space().items():
                for value in (bounds.low, bounds.high):
                    make().with_settings([f"{setting}={value}"])
                value = given[setting]
                inside = value is None or bounds.low <= value <= bounds.high
                assert inside or preset != "default", (name, setting, value)
                assert bounds.whole == isinstance(value, int) or value is None, (name, setting)


def test_a_setting_that_is_off_is_not_tuned() -> None:
    assert "ceiling" not in make_method("neggrad", "paper").space()
    assert "ratio" not in make_method("ssd", "paper").space()


def tuning(*args: object, weights: Path, out: Path) -> Outcome:
    return run_cli(
        "tune", "--weights", weights / "model.safetensors", "--data", "digits", "--forget", "3", "--out", out,
        "--device", "cpu", *args,
    )  # fmt: skip


SHORT = ("--method", "finetune", "--trials", "3", "--set", "recipe.epochs=1", "--set", "retain_per_class=10")


def test_the_command_writes_a_folder_and_names_the_command_that_forgets(digits_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    done = tuning(*SHORT, "--seed", "4", "--json", "-q", weights=digits_run, out=out)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    files = {"settings.json", "trials.json", "config.json", "access.json", "cost.json", "manifest.json"}
    assert {path.name for path in out.iterdir()} == files
    chosen = json.loads((out / "settings.json").read_text())
    tried = json.loads((out / "trials.json").read_text())
    assert tried["signal"] == "remade"
    assert len(tried["trials"]) == 3
    assert tried["trials"] == result["trials"]
    assert json.loads((out / "access.json").read_text())["forget_samples_read"] == 0
    fixed = ["recipe.epochs=1", "retain_per_class=10"]
    found = [*fixed, "search=none", *tried["trials"][tried["best"]]["settings"]]
    assert chosen["settings"] == found == result["settings"]
    assert not any(setting.startswith("recipe.epochs") for trial in tried["trials"] for setting in trial["settings"])
    space = json.loads((out / "config.json").read_text())["space"]
    assert space.keys() == METHODS["finetune"]().space().keys() - {"recipe.epochs"}

    assert shlex.split(result["command"]) == chosen["command"]
    program, *words = chosen["command"]
    assert program == "unlearnkit"
    forgot = run_cli(*words, "--no-audit", "-q")
    assert forgot.code == 0, forgot.err
    config = json.loads((tmp_path / "tuned-forgotten" / "config.json").read_text())
    assert config["settings"] == make_method("finetune", settings=chosen["settings"]).model_dump()
    assert config["seed"] == 4
    # the model that the command makes is the one that was judged
    images = load_data("digits")
    rows = split_for(ForgetRequest(classes=("3",)), images)[Part.RETAIN_VAL]
    images.fix_shape(int(rows[0]))
    model = open_model("small-cnn", read_checkpoint(tmp_path / "tuned-forgotten" / "model.safetensors"), images)
    predicted = model(images.normalise(images.train.images(rows, CPU.device))).argmax(dim=1)
    accuracy = float((predicted == images.labels("train")[rows]).double().mean())
    best = tried["trials"][tried["best"]]
    assert accuracy == pytest.approx(best["retained"])
    cost = json.loads((tmp_path / "tuned-forgotten" / "cost.json").read_text())["total"]
    assert cost["samples_backward"] == best["cost"]["samples_backward"]


def test_the_same_seed_writes_the_same_trials_and_a_person_can_read_them(digits_run: Path, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        done = tuning(*SHORT, "--look-at-forgotten", weights=digits_run, out=tmp_path / name)
        assert done.code == 0, done.err
        trials = json.loads((tmp_path / name / "trials.json").read_text())
        for trial in trials["trials"]:
            trial["cost"] = {key: trial["cost"][key] for key in ("samples_forward", "samples_backward")}
        found.append(trials)
        assert "as given" in done.out
        assert "unlearnkit forget --weights" in done.out
        assert "read by the method and its tuning: 1" in done.out  # some hundred and forty digits
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["--method", "retrain"], ["Retrain", "no setting to tune"], id="nothing to tune"),
        pytest.param(["--method", "unsyr"], ["'unsyr'"], id="unknown method"),
        pytest.param(["--trials", "1"], ["two trials", "got 1"], id="one trial"),
        pytest.param(["--method", "unsir", "--set", "impair.lr=-1"], ["'impair.lr'"], id="a setting out of range"),
        pytest.param(["--forget", "11"], ["11"], id="unknown class"),
        pytest.param(["--seed", "-1"], ["seed", "-1"], id="seed"),
    ],
)
def test_bad_requests_are_one_sentence_and_nothing_is_written(
    digits_run: Path, tmp_path: Path, args: list[str], words: list[str]
) -> None:
    done = tuning(*args, weights=digits_run, out=tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


def test_without_optuna_the_extra_is_named(digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = tuning(weights=digits_run, out=tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "pip install 'unlearnkit[tune]'" in done.err
    assert not list(tmp_path.iterdir())
