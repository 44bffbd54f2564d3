"""The histograms of loss and entropy against numpy and scipy, and the figure that is drawn of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from canonical import CLASSES
from made_evidence import evidence, one, random_outputs, subject
from report_folders import Make, audit_json, reading
from report_pages import files, of_class, svgs
from unlearnkit.audit import METRICS, QUICK, RETRAIN_FREE
from unlearnkit.audit.doubts import no_samples, size_doubts, unknown
from unlearnkit.audit.evidence import Outputs
from unlearnkit.audit.metrics.histograms import LOSS_EDGES, PARTS, entropy_edges, histograms, shares
from unlearnkit.errors import OutputError
from unlearnkit.report import render
from unlearnkit.report.figures import Curve
from unlearnkit.report.histograms import steps
from unlearnkit.report.words import ENGLISH
from unlearnkit.split import Part

TEST = Part.FORGET_TEST


def oracle(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """Loss and entropy of every sample, by scipy."""
    logits = outputs.logits.double().numpy()
    log_p = scipy.special.log_softmax(logits, axis=1)
    return -log_p[np.arange(len(logits)), outputs.labels.numpy()], scipy.stats.entropy(np.exp(log_p), axis=1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_means_and_shares_agree_with_scipy_and_numpy(seed: int, scale: float) -> None:
    drawn = {part: random_outputs(seed + i, 150 + i, labels=(0, 2)) for i, part in enumerate(PARTS)}
    outputs = {part: replace(each, logits=each.logits * scale) for part, each in drawn.items()}
    readings = histograms(evidence(subject(outputs=outputs)))
    for part, each in outputs.items():
        losses, entropies = oracle(each)
        for name, values, edges in (
            ("loss", losses, LOSS_EDGES),
            ("output_entropy", entropies, entropy_edges(len(CLASSES))),
        ):
            found = one(readings, name, part=part.value)
            assert found.value == pytest.approx(values.mean(), rel=1e-9)
            half = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
            assert found.interval is not None
            assert found.interval[1] == pytest.approx(values.mean() + half, rel=1e-9)
            expected = np.histogram(values, bins=[*edges, np.inf])[0] / len(values)
            assert list(found.series.values()) == pytest.approx(expected.tolist())  # type: ignore[union-attr]
            assert [float(edge) for edge in found.series] == pytest.approx(edges, rel=1e-5)  # type: ignore[union-attr]
            assert (found.unit, found.samples, found.target) == ("nats", len(values), "match_retrain")


def test_a_value_on_an_edge_lies_above_it_and_the_last_bin_is_open() -> None:
    values = torch.tensor([0.0, 0.5, 1.0, 2.0, 1e9, torch.inf], dtype=torch.float64)
    assert shares(values, (0.0, 1.0, 2.0)) == pytest.approx([2 / 6, 1 / 6, 3 / 6])


def test_uniform_outputs_have_the_highest_entropy() -> None:
    flat = Outputs(logits=torch.zeros(120, 4), labels=torch.full((120,), 2), sampled_from=120)
    readings = histograms(evidence(subject(outputs={TEST: flat})))
    found = one(readings, "output_entropy", part="forget_test")
    assert found.value == pytest.approx(math.log(4))
    assert list((found.series or {}).values())[-1] == 1
    assert sum(LOSS_EDGES[i + 1] - LOSS_EDGES[i] for i in range(20)) == 20


def test_what_cannot_be_measured_is_said() -> None:
    few = random_outputs(0, 20, labels=(2,))
    readings = histograms(evidence(subject(outputs={TEST: replace(few, sampled_from=50)})))
    assert one(readings, "loss", part="forget_test").doubts == tuple(size_doubts(20, 50, 100))
    assert one(readings, "loss", part="forget_train").doubts == (no_samples("forget_train"),)
    assert one(readings, "loss", part="forget_train").value is None

    broken = few.logits.clone()
    broken[3, 1] = torch.nan
    readings = histograms(evidence(subject(outputs={TEST: replace(few, logits=broken)})))
    assert all(r.value is None and r.series is None for r in readings)
    assert one(readings, "loss", part="forget_test").doubts == (unknown("outputs_not_finite", {"part": "forget_test"}),)

    masked = few.logits.clone()
    masked[:, 2] = -torch.inf
    readings = histograms(evidence(subject(outputs={TEST: replace(few, logits=masked)})))
    loss = one(readings, "loss", part="forget_test")
    assert loss.value is None
    assert loss.doubts[0] == unknown("loss_infinite", {"masked": 20, "n": 20})
    assert (loss.series or {})["20"] == 1
    assert one(readings, "output_entropy", part="forget_test").value is not None


def test_batch_and_order_do_not_matter() -> None:
    outputs = random_outputs(3)
    turned = replace(outputs, logits=outputs.logits.flip(0), labels=outputs.labels.flip(0))
    first, second = (histograms(evidence(subject(outputs={TEST: each}))) for each in (outputs, turned))
    for a, b in zip(first, second, strict=True):
        assert (a.series, a.doubts) == (b.series, b.doubts)
        assert a.value == (pytest.approx(b.value, rel=1e-12) if b.value is not None else None)


def test_it_is_read_in_every_audit() -> None:
    assert METRICS["histograms"].parts == set(PARTS)
    assert "histograms" in QUICK
    assert "histograms" in RETRAIN_FREE


# ---- the figure --------------------------------------------------------------------------------------------------


def without_histograms(retrained: int = 2) -> dict[str, Any]:
    audit = audit_json(["cat", "dog"], retrained)
    return audit | {"readings": [r for r in audit["readings"] if r["metric"] not in ("loss", "output_entropy")]}


def with_histograms(retrained: int = 2) -> dict[str, Any]:
    audit = without_histograms(retrained)
    models = [("original", 0, 0.9), ("unlearned", 0, 0.25), *(("retrained", i, 0.1 * i) for i in range(retrained))]
    for model, i, first in models:
        who = {"model": model, "replicate": i, "part": "forget_test", "unit": "nats"}
        series = {"0": first, "1": 1 - first, "2": 0.0}
        audit["readings"].append(reading("loss", value=1.5 + i, series=series, **who))
        audit["readings"].append(reading("output_entropy", value=0.5, series={"0": 0.0, "0.5": 1.0}, **who))
    retain = {"model": "unlearned", "part": "retain_test", "unit": "nats", "series": {"0": 0.75, "1": 0.25}}
    audit["readings"].append(reading("loss", value=0.1, **retain))
    return audit


def test_the_figure_shows_and_keeps_the_shares(make: Make) -> None:
    page = render(make(audit=with_histograms()))
    drawn = {svg[0].text: svg for svg in svgs(page)}
    loss = drawn["How wrong and how sure, sample by sample: Loss"]
    assert len(of_class(loss, "curve")) == 4
    tips = {title.text for title in loss.iter("title")}
    assert "unlearned, loss in nats 0 to 1.00: 25.0%" in tips
    assert "retrained 2, loss in nats 1.00 to 2.00: 90.0%" in tips
    assert not any("2.00 and more" in (tip or "") for tip in tips)  # nothing lies there
    assert "original: 90.0%, 0 to 1.00; unlearned: 75.0%, 1.00 to 2.00" in (loss[1].text or "")
    rows = files(page)["histograms.csv"]
    assert rows[0] == ["data", "reading", "model", "replicate", "from", "to", "share"]
    assert ["forget_test", "loss", "unlearned", "1", "1.0", "2.0", "0.75"] in rows
    assert ["forget_test", "loss", "unlearned", "1", "2.0", "", "0.0"] in rows
    assert ["forget_test", "output_entropy", "original", "1", "0.5", "1.0", "1.0"] in rows
    assert ["retain_test", "loss", "unlearned", "1", "0.0", "1.0", "0.75"] in rows
    assert "1.50 / 2.50" in page


def test_models_with_other_bins_are_not_drawn_over_each_other(make: Make) -> None:
    audit = with_histograms()
    (short,) = [r for r in audit["readings"] if (r["metric"], r["model"]) == ("loss", "original")]
    short["series"] = {"0": 0.5, "3": 0.5}
    folder = make(audit=audit)
    with pytest.raises(OutputError, match="same bins for loss of every model"):
        render(folder)


def test_without_the_readings_the_page_says_so(make: Make) -> None:
    page = render(make(audit=without_histograms()))
    figure = page[page.index('id="figure-histograms"') :]
    assert "Not available: it was not measured." in figure[: figure.index("</figure>")]


def test_outlines_lie_where_the_bins_are() -> None:
    svg = ElementTree.fromstring(
        steps(
            [Curve(name="a", points=[(0, 0.25), (1, 0.75)], model="retrained")],
            [0.0, 1.0, 2.0],
            title="t",
            description="d",
            write_x=str,
            write_bin=str,
            x_name="loss",
            words=ENGLISH,
            height=100,
        )
    )
    (line,) = of_class(svg, "curve")
    top = 100 * (1 - 0.75 / 0.8)
    places = [tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()]
    low = 100 * (1 - 0.25 / 0.8)
    expected = [(0, 100), (0, low), (50, low), (50, top), (100, top), (100, 100)]
    assert [value for place in places for value in place] == pytest.approx([v for place in expected for v in place])
    (mark,) = of_class(svg, "point")
    assert mark[0].text == "a, loss 1: 75.0%"


def test_the_readings_are_in_a_real_audit(digits_run: Path) -> None:
    from unlearnkit.audit import audit, gather
    from unlearnkit.data.sources.registry import load_data
    from unlearnkit.models import SmallCNN
    from unlearnkit.models.checkpoint import read_checkpoint
    from unlearnkit.request import ForgetRequest
    from unlearnkit.split import split_for

    model, data = SmallCNN(10, 1), load_data("digits")
    read_checkpoint(digits_run / "model.safetensors").load_into(model)
    metrics = {"histograms": METRICS["histograms"]}
    split = split_for(ForgetRequest(classes=("3",)), data)
    seen = gather({"original": model, "unlearned": model}, data, split, metrics=metrics.values(), seed=0)
    result = audit(seen, metrics)
    assert 0 < (result.value("loss", "unlearned", "retain_test") or 0) < 0.5
