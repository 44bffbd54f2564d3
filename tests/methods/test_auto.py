"""Auto keeps the first way that does by its own account, each tried on the original, and says what was tried."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from canonical import CLASSES, CPU, RETAIN, learned, small_cnn, tiny, tiny_data
from contract_runs import assert_same_tensors
from unlearnkit import ForgetRequest
from unlearnkit.methods import METHODS, Unlearned, unlearn

CHEAP = tiny("auto", f"erase.retain_per_class={RETAIN}").method
DOG = ForgetRequest(classes=(CLASSES[-1],))


def forget(*settings: str, model: nn.Module | None = None, method: Any = CHEAP, **data: Any) -> Unlearned:
    return unlearn(
        model or small_cnn(1), method.with_settings(list(settings)), tiny_data(**data), DOG, seed=3, runtime=CPU
    )


def tried(done: Unlearned) -> list[str]:
    return [each["method"] for each in done.notes["auto"]["tried"]]


def test_an_erasure_that_does_is_kept_bit_for_bit() -> None:
    done = forget("remains=10", "tolerance=0.99")
    assert (done.notes["auto"]["kept"], tried(done)) == ("erase", ["erase"])
    alone = unlearn(small_cnn(1), CHEAP.erase, tiny_data(), DOG, seed=3, runtime=CPU)
    assert_same_tensors(done.model.state_dict(), alone.model.state_dict())


def test_no_layer_is_edited_where_the_erasure_would_leave_too_much() -> None:
    """The level that it aims at is known before the first edit, and costs one pass; at that level it is carried out."""
    short = "tolerance=0.99", "distil.repair.epochs=1", "erase.start=0.6"
    early = forget("remains=0.01", *short, model=learned())
    (first, _) = early.notes["auto"]["tried"]
    assert (first.keys(), early.notes["auto"]["kept"]) == ({"method", "aims_at"}, "shrink-distill")
    assert first["aims_at"] > 0.01
    assert "observe" in early.cost["stages"]
    assert "erase" not in early.cost["stages"]
    late = forget(f"remains={first['aims_at']!r}", *short, model=learned())
    again = late.notes["auto"]["tried"][0]
    assert (again["aims_at"], "erase" in late.cost["stages"]) == (first["aims_at"], True)
    assert (late.notes["auto"]["kept"] == "erase") == (again["shows"] <= again["aims_at"])
    if late.notes["auto"]["kept"] != "erase":
        assert_same_tensors(late.model.state_dict(), early.model.state_dict())


@pytest.mark.slow
def test_where_the_class_still_shows_the_original_is_shrunk_and_taught() -> None:
    done = forget("remains=0", "tolerance=0.99", model=learned())
    assert (done.notes["auto"]["kept"], tried(done)) == ("shrink-distill", ["erase", "shrink-distill"])
    assert done.notes["auto"]["tried"][0]["shows"] > 0
    assert "distil" in done.cost["stages"]
    assert "impair" not in done.cost["stages"]
    assert done.access.forget_samples_read(done.split) == 0


def test_a_doubt_about_the_erasure_is_the_runs_only_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearnkit.methods.erase.trust.LEAST_TRUST", 2.0)
    kept = forget("remains=10", "tolerance=0.99")
    assert kept.notes["doubt"] == {
        "code": "directions_doubtful",
        "values": {"cosine": kept.notes["erase"]["trust"], "least": 2.0},
    }
    other = forget("remains=0", "tolerance=0.99", "distil.repair.epochs=1", model=learned())
    assert (other.notes["auto"]["kept"], "erase" in other.cost["stages"]) == ("shrink-distill", True)
    assert "doubt" not in other.notes
    monkeypatch.setattr("unlearnkit.methods.erase.trust.LEAST_TRUST", -1.0)
    assert "doubt" not in forget("remains=10", "tolerance=0.99").notes


def test_each_way_starts_from_the_original_and_not_from_what_the_one_before_left() -> None:
    """With next to no rate, the matrices are the original's, shrunk."""
    done = forget(*("remains=0", "tolerance=0.99", "distil.factor=0.5", "distil.repair.lr=1e-12"), model=learned())
    assert done.notes["auto"]["kept"] == "shrink-distill"
    before, after = learned().state_dict(), done.model.state_dict()
    for name, weight in before.items():
        if weight.dim() >= 2:
            torch.testing.assert_close(after[name], weight / 2, rtol=1e-4, atol=1e-7)


def test_where_accuracy_falls_the_articles_method_is_tried_and_kept_where_it_holds() -> None:
    """A model that has learned the images loses accuracy by weights that are shrunk to nothing and not trained on."""
    settings = "remains=0", "distil.factor=0.01", "distil.repair.lr=1e-9", "tolerance=0.0"
    method = CHEAP.with_settings([*settings, "unsir.search.tolerance=0.99", "unsir.impair.lr=1e-9"])
    done = unlearn(learned(), method.with_settings(["unsir.repair.lr=1e-9"]), tiny_data(), DOG, seed=3, runtime=CPU)
    notes = done.notes["auto"]
    assert (notes["kept"], notes["holds"], tried(done)) == ("unsir", True, ["erase", "shrink-distill", "unsir"])
    assert notes["tried"][0]["shows"] > 0
    assert notes["tried"][1]["accuracy"] < notes["tried"][1]["accuracy_before"] == 1.0
    assert {"erase", "distil", "impair", "repair"} <= done.cost["stages"].keys(), "what was tried is paid for"


@pytest.mark.parametrize(("factor", "rate", "kept"), [("0.7", "10", "shrink-distill"), ("0.01", "1e-9", "unsir")])
def test_where_no_way_holds_the_one_that_lost_the_least_is_kept(factor: str, rate: str, kept: str) -> None:
    """A tolerance below nothing is what none can hold; an erasure that leaves the class is no candidate."""
    settings = [f"distil.factor={factor}", "distil.repair.lr=1e-9", f"unsir.impair.lr={rate}", "unsir.repair.lr=1e-9"]
    method = CHEAP.with_settings(["remains=0", "unsir.search=none", *settings])
    object.__setattr__(method, "tolerance", -1.0)
    done = unlearn(learned(), method, tiny_data(per_class=200), DOG, seed=3, runtime=CPU)
    notes = done.notes["auto"]
    accuracy = {each["method"]: each["accuracy"] for each in notes["tried"] if "accuracy" in each}
    assert (notes["kept"], notes["holds"], accuracy.keys()) == (kept, False, {"shrink-distill", "unsir"})
    assert accuracy[kept] == max(accuracy.values()) > min(accuracy.values())


def test_the_search_of_a_way_that_is_not_kept_is_not_the_runs() -> None:
    """UNSIR's rates stand with what was tried, as the report would speak of them as those of what is kept."""
    settings = "distil.factor=0.7", "distil.repair.lr=1e-9", "unsir.impair.lr=10", "unsir.search.trials=0"
    method = CHEAP.with_settings(["remains=0", "tolerance=0.0", "unsir.search.attempts=1", *settings])
    done = unlearn(learned(), method, tiny_data(per_class=200), DOG, seed=3, runtime=CPU)
    assert done.notes["auto"]["kept"] == "shrink-distill"
    assert "search" not in done.notes
    assert len(done.notes["auto"]["tried"][-1]["search"]["attempts"]) == 1


def test_a_network_that_cannot_be_edited_is_shrunk_and_the_reason_is_noted() -> None:
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, len(CLASSES))).eval()
    done = forget("tolerance=0.99", model=linear)
    assert done.notes["auto"]["kept"] == "shrink-distill"
    assert "Expected" in done.notes["auto"]["tried"][0]["failed"]


def test_without_validation_samples_accuracy_is_not_asked_about() -> None:
    done = forget("remains=10", "tolerance=0", "erase.retain_per_class=1", per_class=1)
    about = pytest.approx(0, abs=10)
    first = {"method": "erase", "aims_at": about, "shows": about}
    assert done.notes["auto"] == {"kept": "erase", "holds": True, "tried": [first]}


def test_its_parts_are_those_of_the_methods_that_it_tries() -> None:
    auto = METHODS["auto"]()
    assert auto.needs == auto.erase.needs | auto.distil.needs | auto.unsir.needs
    assert not any(part.forgotten for part in auto.needs)
