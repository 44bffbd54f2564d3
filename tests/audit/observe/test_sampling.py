"""Which samples the audit looks at: even shares of what was asked for, and stand-ins where the data is gone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unlearnkit.audit.observe.attacking as attacks_module
from brief import shorten
from canonical import CLASSES, CPU, MODELS, tiny_data
from unlearnkit.audit import METRICS, QUICK, RETRAIN_FREE, Evidence, audit, gather
from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.observe.sampling import StandIns, shared_out, stratified
from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part, split_for


@given(sizes=st.lists(st.integers(0, 200), min_size=1, max_size=5), total=st.integers(0, 500))
def test_shares_are_as_even_as_the_sizes_allow(sizes: list[int], total: int) -> None:
    parts = dict(zip(Part, sizes, strict=False))
    shares = shared_out(parts, total)
    assert all(shares[p] <= parts[p] for p in parts)
    assert sum(shares.values()) == min(total, sum(sizes))
    cut = [shares[p] for p in parts if shares[p] < parts[p]]
    if cut:  # whoever is cut has as many as anybody, up to what one remainder leaves
        assert max(shares.values()) - min(cut) <= 1


def test_all_samples_without_a_limit() -> None:
    assert shared_out({Part.FORGET_TEST: 3, Part.RETAIN_TEST: 90}, None) == {Part.FORGET_TEST: 3, Part.RETAIN_TEST: 90}


def test_every_class_keeps_its_share() -> None:
    labels = torch.tensor([0] * 80 + [1] * 20)
    chosen = stratified(labels, 10, torch.Generator().manual_seed(0))
    assert torch.bincount(labels[chosen]).tolist() == [8, 2]
    assert chosen.tolist() == sorted(set(chosen.tolist()))


def without_dogs() -> ImageData:
    return tiny_data(classes=CLASSES[:3]).with_classes(CLASSES)


@pytest.fixture(autouse=True)
def few_relearning_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an audit trains has tests of its own; here it may be short."""
    shorten(monkeypatch)
    monkeypatch.setattr(attacks_module, "SHOTS", (1,))


def looked(data: ImageData, stand_ins: ImageData | None, *, retrained: int = 2) -> Evidence:
    split = split_for(ForgetRequest(classes=("dog",)), data)
    model = MODELS["cnn-grey"].model
    models = {"original": model(), "unlearned": model(), "retrained": [model() for _ in range(retrained)]}
    return gather(models, data, split, metrics=METRICS.values(), seed=0, runtime=CPU, stand_ins=stand_ins)


@pytest.mark.slow
def test_the_tier_follows_what_there_is_of_the_class() -> None:
    whole = tiny_data()
    assert audit(looked(whole, None)).tier == "E3"
    gone = without_dogs()
    nothing = audit(looked(gone, None))
    assert nothing.tier == "E0"
    assert nothing.verdict.status == "unknown"
    assert Doubt("no_forgotten_data") in nothing.verdict.why
    train = whole.train.labels != CLASSES.index("dog")
    held_out = ImageData(
        source="held out",
        classes=CLASSES,
        train=gone.train,
        test=whole.test,
        preprocessing=whole.preprocessing,
        augment="none",
    )
    assert int(train.sum()) == len(gone.train)
    assert audit(looked(held_out, None)).tier == "E2"


@pytest.mark.slow
def test_stand_ins_are_looked_at_and_doubted() -> None:
    data, others = without_dogs(), tiny_data(classes=("dog", "zebra")).with_classes((*CLASSES, "zebra"))
    evidence = looked(data, others)
    result = audit(evidence)
    assert result.tier == "E1"
    assert result.verdict.why[-1] == Doubt("judged_on_stand_ins")
    dog = CLASSES.index("dog")
    for subject in evidence.subjects:
        assert Part.FORGET_TRAIN not in subject.outputs  # nobody was trained on them: no members
        assert set(subject.outputs[Part.FORGET_TEST].labels.tolist()) == {dog}
        assert subject.relearning is not None
        assert subject.attacks is not None
    found = {(r.metric, r.part): r for r in result.readings if r.model == "unlearned"}
    for key in (("accuracy", "forget_test"), ("probe_recovery", "forget_test"), ("relearn_steps", None)):
        assert found[key].value is not None
        assert Doubt("stand_ins") in found[key].doubts, key
    assert found["membership_auc_loss", None].value is None
    assert Doubt("stand_ins") not in found["accuracy", "retain_test"].doubts
    access = AccessLog(data)
    gather(
        {"original": MODELS["cnn-grey"].model()},
        data,
        split_for(ForgetRequest(classes=("dog",)), data),
        metrics=[METRICS["accuracy"]],
        seed=0,
        runtime=CPU,
        access=access,
        stand_ins=others,
    )
    split = split_for(ForgetRequest(classes=("dog",)), data)
    assert access.summary(split)["forget_samples_read_by_audit"] == 0


def test_stand_ins_are_refused_where_they_make_no_sense() -> None:
    def view(data: ImageData) -> DataView:
        split = split_for(ForgetRequest(classes=("dog",)), data)
        data.fix_shape(0)
        return DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=CPU.device)

    with pytest.raises(ConfigError, match="leave --audit-data out"):
        StandIns(view(tiny_data()), tiny_data())
    with pytest.raises(DataError, match="no test samples of 'dog'"):
        StandIns(view(without_dogs()), tiny_data(classes=("zebra",)).with_classes((*CLASSES, "zebra")))


@pytest.mark.slow
def test_what_needs_no_retrained_model_is_listed() -> None:
    evidence = looked(tiny_data(), None, retrained=0)
    for name, metric in METRICS.items():
        if name == "cost":
            continue  # none is passed here
        known = any(r.value is not None for r in metric.fn(evidence) if r.model == "unlearned")
        assert known == (name in RETRAIN_FREE), name


def test_a_quick_look_trains_nothing() -> None:
    assert not any(metric.wants & {"relearn", "attacks"} for metric in QUICK.values())
    assert {"accuracy", "class_recovery", "sample_membership"} <= set(QUICK)
