"""The registry: what is derived from the metrics' own files, and that each says of itself what is true."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from unlearnkit.audit.bank import banks
from unlearnkit.audit.metric import TRAINING
from unlearnkit.audit.metrics import registry
from unlearnkit.audit.metrics.registry import METRICS, PRIMARY, PRIMARY_METRICS, QUICK, RETRAIN_FREE


def test_the_registry_is_one_line_for_each_metric() -> None:
    tree = ast.parse(Path(registry.__file__).read_text(encoding="utf-8"))
    (table,) = [
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "METRICS"
    ]
    assert isinstance(table, ast.Dict)
    for key, value in zip(table.keys, table.values, strict=True):
        assert isinstance(key, ast.Constant)
        assert ast.unparse(value) == str(key.value).upper()


def test_a_metric_stands_in_the_file_of_its_function() -> None:
    for name, metric in METRICS.items():
        assert vars(sys.modules[metric.fn.__module__])[name.upper()] is metric


def test_readings_belong_to_one_metric_and_votes_to_its_readings() -> None:
    readings = [name for metric in METRICS.values() for name in metric.readings]
    assert len(readings) == len(set(readings))
    for metric in METRICS.values():
        assert {vote.metric for vote in metric.votes} <= set(metric.readings)
        parts = {vote.part for vote in metric.votes if vote.part is not None}
        assert parts <= metric.parts or metric.wants <= TRAINING  # what trains measures on samples of its own


def test_what_is_derived_is_what_it_was() -> None:
    assert PRIMARY_METRICS == (
        "accuracy",
        "prediction_distribution",
        "output_agreement",
        "sample_membership",
        "class_membership",
        "class_recovery",
        "return_recovery",
    )
    assert METRICS.keys() - QUICK.keys() == {"return_recovery", "relearn_time", "few_shot_recovery"}
    assert METRICS.keys() - RETRAIN_FREE == {
        "output_agreement",
        "row_margins",
        "rmia_membership",
        "lira_membership",
        "u_lira_membership",
        "cka_retrained",
    }
    for bank in banks():
        assert list(bank.priors) == [vote.key for vote in PRIMARY]
