"""Tuning: a planted best setting is found, within a budget, from nothing that the tuner may not read."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from canonical import CLASSES, CPU, tiny_data
from tuned_runs import GONE, PER_CLASS, REQUEST, Brightness, Dial, as_found, reads, search
from unlearnkit.errors import NonFiniteLossError, RequestError
from unlearnkit.methods import UNSIR, Context, FineTune
from unlearnkit.request import ForgetRequest, Subclass
from unlearnkit.split import Part
from unlearnkit.tuning import tune
from unlearnkit.tuning.scoring import INVERTED, Signal


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_costs_are_those_of_all_runs_and_of_the_judge() -> None:
    tuned = search(trials=4)
    stages = tuned.cost["stages"]
    assert [trial.cost.samples_forward for trial in tuned.trials if trial.cost] == [5] * 4
    assert stages["trials"]["samples_forward"] == 20
    assert stages["remake"]["samples_backward"] == 2 * INVERTED * 40
    # validation and inverted images, for the original and after each run
    assert stages["judge"]["samples_forward"] == 5 * (6 + 2 * INVERTED)
    assert tuned.cost["total"]["samples_forward"] == sum(stage["samples_forward"] for stage in stages.values())


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_rows_have_no_sound_score_and_are_refused_with_what_to_do_instead() -> None:
    data = tiny_data()
    for request in (ForgetRequest(rows=(1, 2)), ForgetRequest(subclasses=(Subclass(name="ant:red", train=(1,)),))):
        with pytest.raises(RequestError, match=r"for which no score is sound.*tune the method on a class"):
            tune(Brightness(), FineTune(), data, request, seed=0, trials=2, runtime=CPU)
    assert not data.train.decoded.any()
