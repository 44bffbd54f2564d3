"""Chooses what the picture of gap against cost shows: a mark for each method, with its range over the seeds."""

from __future__ import annotations

import statistics
from typing import Any

from unlearnkit.compare.groups import finished, in_a_line, reads_forgotten, shares, worst
from unlearnkit.compare.trade_off import Point, trade_off


def picture(result: dict[str, Any]) -> str:
    """Return an SVG of worst gap against cost: the tuned variant of each method if there is one, else the default."""
    groups = finished(result["rows"])
    points = []
    for (method, variant), group in groups.items():
        if variant == "paper" or (variant == "default" and (method, "tuned") in groups):
            continue
        gaps = [row["verdict"]["worst_gap"] for row in group]
        shape = "cross" if group[0]["control"] else "hollow" if reads_forgotten(group[0]) else "filled"
        points.append(
            Point(
                name=method,
                x=statistics.median(shares(result, group, "samples")),
                y=worst(group),
                shape=shape,
                span=(min(gaps), max(gaps)) if len(gaps) > 1 else None,
                contender=shape != "cross",
            )
        )
    forgotten = in_a_line(result["forget"])
    return trade_off(
        points,
        title=f"{result['model']} on {result['data']}, forgetting {forgotten}: distance from retraining against cost",
        description="Each mark is a method: to the left cheaper, lower down nearer to retrained models. "
        "The stairs join the methods that no other beats in both.",
        x_name="samples passed forward and backward, as a share of one retraining",
        y_name="worst of the readings that vote, in bands of the retrained models",
        shapes={
            "filled": "reads no forgotten sample",
            "hollow": "reads forgotten samples",
            "cross": "control, forgets nothing",
        },
        x_limit=(1.0, "one retraining"),
        y_limit=(1.0, "end of the band: below, nothing tells the model from a retrained one"),
    )
