"""Methods that fit a linear head over a frozen body: what they write, what they state, and what they refuse."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

import unlearnkit.methods.linear.newton_removal as newton_module
from canonical import CPU, MODELS
from report_folders import Make, artefacts
from report_pages import first_screen
from trained_once import trained
from unlearnkit.data.choosing_rows import RowChoice
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.methods import METHODS, Unlearned, unlearn
from unlearnkit.methods.cards import method_cards
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.methods.linear.numerics import LOGISTIC, Array, fit, gradient, one_hot, unit_rows
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.head import features
from unlearnkit.models.metadata import Account
from unlearnkit.report import render
from unlearnkit.report.words import LANGUAGES
from unlearnkit.request import ForgetRequest
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.split import Part
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.rows import RowRequest
from unlearnkit.steps.specs import CaseSpec

HEADS = ("linear-refit", "newton-removal", "projective-residual", "descent-to-delete")
SETTING = MODELS["cnn-grey"]
ROWS = ForgetRequest(rows=(0, 13))
CLASS = ForgetRequest(classes=(2,))


def run(name: str, request: ForgetRequest, *settings: str, model: nn.Module | None = None, **more: Any) -> Unlearned:
    method = METHODS[name]().with_settings(settings)
    return unlearn(model or SETTING.model(), method, SETTING.data(), request, runtime=CPU, **{"seed": 0} | more)


def rows_of(result: Unlearned, part: Part, numbers: Tensor | None = None) -> tuple[Array, Array]:
    """Rows and targets of a part as the head's fit takes them, computed here."""
    data, split = SETTING.data(), result.split
    data.fix_shape(0)
    chosen = split[part] if numbers is None else numbers
    images = data.normalise(data.train.images(chosen, torch.device("cpu")))
    entering = features(result.model, images, "head").double().numpy()
    return unit_rows(entering, constant=True), one_hot(data.train.labels[chosen].numpy(), 4)


def head_of(model: nn.Module) -> Array:
    head: Any = model.get_submodule("head")
    found: Array = torch.cat([head.weight, head.bias[:, None]], dim=1).detach().double().numpy().T
    return found


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("request_", [ROWS, CLASS], ids=["rows", "class"])
def test_the_body_stays_bit_for_bit_and_the_statement_is_of_the_head(name: str, request_: ForgetRequest) -> None:
    before = SETTING.model()
    settings = ("regularisation=0.1",) if name == "descent-to-delete" else ()
    result = run(name, request_, *settings, model=before)
    for key, value in result.model.state_dict().items():
        assert torch.equal(value, before.state_dict()[key]) == (not key.startswith("head.")), key
    assert result.notes["statement"]["code"].startswith("statement_head")


def test_the_refitted_head_is_scikit_learns_on_the_retained_rows() -> None:
    result = run("linear-refit", CLASS, "regularisation=0.01")
    rows, targets = rows_of(result, Part.RETAIN_TRAIN)
    for k in range(3):
        oracle = LogisticRegression(C=1 / (0.01 * len(rows)), fit_intercept=False, tol=1e-10, max_iter=9999)
        if targets[:, k].any():
            assert head_of(result.model)[:, k] == pytest.approx(oracle.fit(rows, targets[:, k]).coef_[0], abs=1e-4)
    result = run("linear-refit", ROWS, "loss=squared", "ridge=0.5")
    rows, targets = rows_of(result, Part.RETAIN_TRAIN)
    oracle = Ridge(alpha=0.5, fit_intercept=False, solver="cholesky").fit(rows, targets)
    assert head_of(result.model) == pytest.approx(oracle.coef_.T, abs=1e-5)
    # logits keep the order of the fitted scores, though rows are not scaled in the network
    scores = rows @ head_of(result.model)
    data = SETTING.data()
    data.fix_shape(0)
    with torch.no_grad():
        logits = result.model(data.normalise(data.train.images(result.split[Part.RETAIN_TRAIN], torch.device("cpu"))))
    assert np.array_equal(logits.numpy().argmax(axis=1), scores.argmax(axis=1))


def test_the_projected_head_of_a_class_with_enough_rows_is_the_refitted_one_and_else_is_not() -> None:
    model = SETTING.model()  # 8 features and a constant; two classes have 22 rows
    both = ForgetRequest(classes=(1, 3))
    exact = head_of(run("linear-refit", both, "loss=squared", "ridge=1", model=model).model)
    found = run("projective-residual", both, "ridge=1", model=model)
    assert found.notes["statement"]["span"] >= 8  # one of 9 inputs is the same for every row here, which loses nothing
    assert head_of(found.model) == pytest.approx(exact, abs=1e-5)
    some = run("projective-residual", ROWS, "ridge=1", model=model)
    refitted = run("linear-refit", ROWS, "loss=squared", "ridge=1", model=model)
    assert some.notes["statement"]["span"] == 2
    gap = np.abs(head_of(some.model) - head_of(refitted.model)).max()
    assert 1e-4 < gap < 0.1


@pytest.mark.parametrize("request_", [ROWS, CLASS], ids=["rows", "class"])
def test_newton_removal_spends_no_less_than_its_true_residual(
    request_: ForgetRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Usual mistakes: the written float32 head is not the one that was bounded; a class is taken in one step anyway."""
    tilts: list[Array] = []

    def seen(*args: Any, tilt_DK: Array) -> Array:
        tilts.append(tilt_DK)
        return fit(*args, tilt_DK=tilt_DK)

    monkeypatch.setattr(newton_module, "fit", seen)
    penalty = 0.1 if request_ is ROWS else 1e-3
    result = run("newton-removal", request_, "sigma=3", f"regularisation={penalty}")
    statement = result.notes["statement"]
    rows, targets = rows_of(result, Part.RETAIN_TRAIN)
    residual = gradient(LOGISTIC, rows, targets, head_of(result.model), penalty * len(rows), tilts[-1])
    assert 0 < np.linalg.norm(residual) <= statement["spent"] <= statement["budget"]
    assert statement["budget"] == pytest.approx(3 / math.sqrt(2 * math.log(1.5e4)))
    assert statement["refitted"] == (request_ is CLASS)
    assert len(tilts) == 1 + statement["refitted"]
    assert (statement["bound_of_request"] > statement["budget"]) == statement["refitted"]
    # the tilt is normal noise of the setting's size, and drawn anew for a new fit
    drawn = np.concatenate([each.ravel() for each in tilts])
    assert drawn.std() == pytest.approx(3, rel=5 * math.sqrt(1 / (2 * len(drawn))))
    assert abs(drawn.mean()) < 5 * 3 / math.sqrt(len(drawn))
    assert len({float(each[0, 0]) for each in tilts}) == len(tilts)


@pytest.mark.parametrize("name", ["newton-removal", "descent-to-delete"])
def test_an_account_is_gone_on_with_as_long_as_everything_is_as_it_was_left(name: str) -> None:
    """Usual mistake: the budget begins anew with every request."""
    settings = ("sigma=5", "regularisation=0.1")
    first = run(name, ROWS, *settings)
    account = Account(**first.notes["account"])
    assert account.requests == 1
    later = ForgetRequest(rows=(5,), already_forgotten_rows=ROWS.rows)
    second = run(name, later, *settings, model=first.model, account=account)
    left = Account(**second.notes["account"])
    assert left.requests == 2
    assert left.spent > account.spent
    third = ForgetRequest(classes=(2,), already_forgotten_rows=(*ROWS.rows, 5))
    if name == "descent-to-delete":
        last = run(name, third, *settings, model=second.model, account=left)  # one row of the class is held out
        assert last.notes["account"]["requests"] == 3
        assert last.notes["account"]["spent"] == pytest.approx(3 * account.spent)
        statement = last.notes["statement"]
        assert statement["together"] > statement["epsilon"]
    changed = run("linear-refit", ROWS).model
    for model, asked, more in (
        (changed, later, settings),
        (first.model, ForgetRequest(rows=(5,)), settings),
        (first.model, later, ("sigma=6", "regularisation=0.1")),
    ):
        anew = run(name, asked, *more, model=model, account=account)
        assert anew.notes["account"]["requests"] == 1


def test_descent_publishes_the_minimum_within_its_error_and_with_its_noise() -> None:
    """Usual mistake: the noise on each coordinate is what the whole vector should have."""
    settings = ("regularisation=0.05", "sigma=0.3")
    heads = [head_of(run("descent-to-delete", CLASS, *settings, seed=seed).model) for seed in range(4)]
    result = run("descent-to-delete", CLASS, *settings)
    rows, targets = rows_of(result, Part.RETAIN_TRAIN)
    exact = fit(LOGISTIC, rows, targets, 0.05 * len(rows))
    noise = np.stack(heads) - exact
    n, statement = noise.size, result.notes["statement"]
    assert noise.std() == pytest.approx(0.3, rel=5 / math.sqrt(2 * n))
    assert statement["within"] == pytest.approx(
        0.3 * (math.sqrt(math.log(1e5) + 1) - math.sqrt(math.log(1e5))) / 2**0.5
    )
    assert statement["steps"] > 10
    with pytest.raises(ConfigError, match=r"Expected at most 3 gradient steps .* linear-refit"):
        run("descent-to-delete", CLASS, *settings, "most_steps=3")


class Shifted(nn.Module):
    """A head whose outputs are changed afterwards."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.flat, self.head = nn.Flatten(), head

    def forward(self, images: Tensor) -> Tensor:
        return 3 * self.head(self.flat(images))


class Convolved(nn.Module):
    """A classifier that ends with a 1 x 1 convolution and an average."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(1, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images).mean(dim=(2, 3))


def test_what_is_no_linear_head_is_refused_with_what_would_do() -> None:
    frozen = SETTING.model()
    frozen.get_submodule("head").requires_grad_(False)
    for name in HEADS:
        with pytest.raises(ModelError, match=r"'head' is a Conv2d; .*head-distillation"):
            run(name, CLASS, model=Convolved())
        with pytest.raises(ModelError, match="'head' is frozen"):
            run(name, CLASS, model=frozen)
        with pytest.raises(ModelError, match=r"changes them afterwards; .*finetune with last=1"):
            run(name, CLASS, model=Shifted(nn.Linear(64, 4)))
    with pytest.raises(ConfigError, match="epsilon"):
        METHODS["newton-removal"](epsilon=2.3)


@pytest.mark.slow
def test_the_account_travels_with_the_weights_from_run_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = trained(tmp_path / "original") / WEIGHTS
    spent = []
    for i, number in enumerate((4, 9)):
        (tmp_path / f"{i}.csv").write_text(f"row\n{number}\n")
        rows = RowRequest(choice=RowChoice(file=tmp_path / f"{i}.csv"), duplicates=False)
        spec = CaseSpec(weights=weights, data="digits", forget=(), rows=rows)
        out = tmp_path / f"forgotten-{i}"
        forget_run(spec, MethodChoice("newton-removal"), Output(out), audit=None, runtime=CPU)
        weights = out / WEIGHTS
        card = read_checkpoint(weights).card
        assert card is not None
        assert card.account is not None
        assert card.account.requests == i + 1
        assert read_json(out, "config.json")["notes"]["statement"]["spent"] == card.account.spent
        spent.append(card.account.spent)
        assert "(epsilon, delta) = (1, 0.0001)" in first_screen(render(out))
    assert 0 < spent[0] < spent[1]
    capsys.readouterr()


def test_the_statement_is_on_the_first_screen_in_every_language(make: Make) -> None:
    statement = {"code": "statement_head", "epsilon": 0.5, "delta": 1e-3, "spent": 0.25, "budget": 2.0, "requests": 4}
    config = artefacts(["a", "b", "c"])["config.json"] | {"notes": {"statement": statement}}
    for language, of_head, of_whole in (
        ("en", "of the head, given the body", "nothing is stated of the whole model"),
        ("zh", "在给定主干的前提下", "对整个模型不作任何结论"),
    ):
        start = first_screen(render(make(config=config), language))
        for fact in (LANGUAGES[language].STATEMENT, of_head, "= (0.5, 0.001)", of_whole, "0.25"):
            assert fact in start, fact
    plain = first_screen(render(make(config=config | {"notes": {"statement": {"epsilon": 1.0}}})))
    assert LANGUAGES["en"].STATEMENT not in plain


def test_nothing_is_called_certified_without_what_is() -> None:
    """The word stands in no string of the program, and in the cards only in a paragraph that says: given the body."""
    for words in LANGUAGES.values():
        assert "certif" not in str({name: value for name, value in vars(words).items() if name.isupper()}).lower()
    assert not [name for name in METHODS if "certif" in name]
    for paragraph in re.split(r"\n\n+", re.sub(r'"[^"]*"', "", method_cards())):
        assert "certif" not in paragraph.lower() or "given the body" in paragraph, paragraph
