"""What forgetting rows costs beside fitting the rest again: every estimator of `unlearnkit.classic`.

    python benchmarks/classic_deletion.py [--repeats 3] [--out FILE.json]
    python benchmarks/classic_deletion.py --smoke

On sets that scikit-learn ships or makes: breast cancer (569 rows, 30 attributes), digits (1,797, 64), and
make_classification (10,000, 20). 1, 10, 100 and 1,000 rows, drawn at random, are forgotten in one request by a copy of
one fitted model, and a new model is fitted to the rest: in turn, in one process with one thread; CPU seconds are
medians of the repeats, each with rows of its own. `--smoke` does the same in seconds on a part of the smallest set.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy
import sklearn
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from unlearnkit.classic import (
    CertifiedLogisticRegression,
    DareForestClassifier,
    DCKMeans,
    QKMeans,
    SummedNaiveBayes,
    SummedRidge,
)

SIZES = (1, 10, 100, 1000)
TREES = 5
Features = NDArray[np.float64]
# Features are scaled by figures of all rows, the same for both ways: what is timed is the estimator alone.
MODELS: dict[str, tuple[Callable[[int], Any], type]] = {
    "DaRE forest": (lambda trees: DareForestClassifier(trees, random_state=0), StandardScaler),
    "DaRE forest, 3 random layers": (
        lambda trees: DareForestClassifier(trees, random_layers=3, random_state=0),
        StandardScaler,
    ),
    "Q-k-means, step 1": (lambda _: QKMeans(10, step=1.0, random_state=0), StandardScaler),
    "DC-k-means, 16 parts": (lambda _: DCKMeans(10, random_state=0), StandardScaler),
    "ridge": (lambda _: SummedRidge(), StandardScaler),
    "naive Bayes": (lambda _: SummedNaiveBayes(), MinMaxScaler),
    "logistic regression": (
        lambda _: CertifiedLogisticRegression(sigma=1.0, random_state=0),
        StandardScaler,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path, help="where the results go as JSON")
    arguments = parser.parse_args()
    repeats, sizes, trees = (1, (1, 10), 2) if arguments.smoke else (arguments.repeats, SIZES, TREES)
    results = [
        row
        for name, (features, labels) in data_sets(smoke=arguments.smoke).items()
        for model, (make, scaler) in MODELS.items()
        for row in timed(name, model, partial(make, trees), scaler().fit_transform(features), labels, sizes, repeats)
    ]
    report = {
        "repeats": repeats,
        "trees": trees,
        "results": results,
        "hardware": {"machine": platform.machine(), "threads": 1},
        "versions": {"python": platform.python_version(), "numpy": np.__version__}
        | {"scipy": scipy.__version__, "scikit-learn": sklearn.__version__},
    }
    print("\n".join(markdown(results)))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def data_sets(*, smoke: bool) -> dict[str, tuple[Features, NDArray[np.int64]]]:
    """Features and classes by name."""
    cancer = load_breast_cancer(return_X_y=True)
    if smoke:
        return {"breast cancer": (cancer[0][:100], cancer[1][:100])}
    made = make_classification(10_000, 20, n_informative=10, n_classes=3, random_state=0)
    return {"breast cancer": cancer, "digits": load_digits(return_X_y=True), "make_classification": made}


def timed(
    name: str,
    model: str,
    make: Callable[[], Any],
    features: Features,
    labels: NDArray[np.int64],
    sizes: tuple[int, ...],
    repeats: int,
) -> list[dict[str, Any]]:
    """CPU seconds of both ways, for each number of rows."""
    if model == "logistic regression":  # its bound grows with the rows' length
        features = features / np.sqrt(features.shape[1])
    rng = np.random.default_rng(0)
    fitted = make().fit(features, labels)
    found = []
    for size in (size for size in sizes if size < 0.9 * len(features)):
        seconds: dict[str, list[float]] = {"unlearn": [], "fit": []}
        notes: list[int] = []
        for _ in range(repeats):
            gone = rng.choice(len(features), size, replace=False)
            left = np.setdiff1d(np.arange(len(features)), gone)
            own = copy.deepcopy(fitted)
            began = time.process_time()
            own.unlearn(gone)
            between = time.process_time()
            make().fit(features[left], labels[left])
            seconds["unlearn"].append(between - began)
            seconds["fit"].append(time.process_time() - between)
            notes += [getattr(own, note) for note in ("iterations_redone_", "fits_") if hasattr(own, note)]
        row = {"data": name, "rows": len(features), "model": model, "forgotten": size, **seconds}
        row |= {"redone": notes} if notes else {}
        if isinstance(fitted, QKMeans | DCKMeans):
            row["loss beside scikit-learn"] = loss(fitted, features)
        found.append(row)
    return found


def loss(model: Any, features: Features) -> float:
    """The k-means loss of a model as a multiple of scikit-learn's, one start each."""
    spread = np.square(features - model.cluster_centers_[model.labels_]).sum()
    return float(spread / KMeans(model.n_clusters, n_init=1, random_state=0).fit(features).inertia_)


def markdown(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table: how many times quicker forgetting is."""
    lines = ["| data | model | fit, s | " + " | ".join(f"{size:,}" for size in SIZES) + " |"]
    lines.append("| --- | --- | --- |" + " --- |" * len(SIZES))
    for data, model in dict.fromkeys((row["data"], row["model"]) for row in results):
        rows = {row["forgotten"]: row for row in results if (row["data"], row["model"]) == (data, model)}
        fits = median(seconds for row in rows.values() for seconds in row["fit"])
        cells = []
        for size in SIZES:
            if size not in rows:
                cells.append("-")
                continue
            spent, again = median(rows[size]["unlearn"]), median(rows[size]["fit"])
            cells.append(f"{again / max(spent, 1e-6):.2g} ({spent:.2g} s)")
        lines.append(f"| {data} | {model} | {fits:.2g} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
