"""The principal plane against scikit-learn, and the samples and classes that the Grad-CAM panels are of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from canonical import CLASSES, CPU, small_cnn, tiny_data, tiny_vit
from made_evidence import evidence, random_outputs, subject
from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.evidence import HEAD, Outputs, Subject
from unlearnkit.audit.observe.embedding import MOST, embedding, principal_plane
from unlearnkit.audit.observe.grad_cam import enlarged, grad_cam
from unlearnkit.audit.observe.grad_cam_samples import looks
from unlearnkit.data import AccessLog, DataView
from unlearnkit.errors import ModelError
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part, split_for

# ---- the plane ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d"), [(50, 7), (9, 40), (3, 2)])
def test_the_plane_is_that_of_scikit_learn_up_to_signs(n: int, d: int) -> None:
    features = torch.randn(n, d, generator=torch.Generator().manual_seed(n)) * torch.arange(1, d + 1) + 100
    points, explained = principal_plane(features)
    oracle = PCA(n_components=2, svd_solver="full").fit(features.double().numpy())
    expected = oracle.transform(features.double().numpy())
    for i in range(2):
        sign = np.sign(points[:, i].numpy() @ expected[:, i])
        np.testing.assert_allclose(points[:, i].numpy(), sign * expected[:, i], rtol=1e-7, atol=1e-7)
    assert explained == pytest.approx(oracle.explained_variance_ratio_.tolist())


def test_the_sign_does_not_depend_on_the_order_of_the_samples() -> None:
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    points, _ = principal_plane(features)
    turned, _ = principal_plane(features[order])
    torch.testing.assert_close(turned, points[order])
    along = torch.linalg.lstsq(features.double() - features.double().mean(dim=0), points).solution
    assert all(float(v[v.abs().argmax()]) > 0 for v in along.T)


@pytest.mark.parametrize("features", [torch.full((7, 3), 0.1), torch.randn(1, 3), torch.zeros(4, 1)])
def test_without_any_spread_all_points_are_one(features: Tensor) -> None:
    points, explained = principal_plane(features)
    assert points.shape == (len(features), 2)
    assert not points.any()
    assert explained == (0.0, 0.0)


def test_one_feature_gives_one_axis() -> None:
    points, explained = principal_plane(torch.tensor([[0.0], [1.0], [5.0]]))
    np.testing.assert_allclose(points.numpy(), [[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0]], atol=1e-12)
    assert explained == pytest.approx((1.0, 0.0))


def seen(n: int, seed: int = 0, labels: tuple[int, ...] = (2,)) -> Outputs:
    outputs = random_outputs(seed, n, labels=labels)
    return replace(outputs, features={HEAD: torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))})


def looked(name: str, replicate: int = 0, seed: int = 0, forgotten: int = 30, retained: int = 500) -> Subject:
    parts = {Part.FORGET_TEST: seen(forgotten, seed), Part.RETAIN_TEST: seen(retained, seed + 1, (0, 1, 3))}
    return subject(name, replicate, outputs=parts)


def test_every_model_has_its_own_plane_of_the_same_samples() -> None:
    models = [looked("original"), looked("unlearned", seed=5), looked("retrained", 0, 7), looked("retrained", 1, 9)]
    found = embedding(evidence(*models))
    assert isinstance(found, dict)
    assert list(found) == ["original", "unlearned", "retrained"]
    for plane in found.values():
        assert plane.forgotten.tolist() == [True] * 30 + [False] * MOST
        assert plane.points.shape == (30 + MOST, 2)
    first = models[2].outputs
    rows = torch.arange(MOST) * 500 // MOST
    joined = torch.cat([first[Part.FORGET_TEST].features[HEAD], first[Part.RETAIN_TEST].features[HEAD][rows]])
    torch.testing.assert_close(found["retrained"].points, principal_plane(joined)[0])


def test_why_there_is_no_plane_is_said() -> None:
    whole = looked("original")
    without = {part: replace(each, features={}) for part, each in whole.outputs.items()}
    assert embedding(evidence(replace(whole, outputs=without))) == (Doubt("no_head_features"))
    retained = {Part.RETAIN_TEST: whole.outputs[Part.RETAIN_TEST]}
    assert embedding(evidence(replace(whole, outputs=retained))) == Doubt("no_samples", {"part": "forget_test"})
    broken = replace(seen(5), features={HEAD: torch.full((5, 6), torch.nan)})
    outputs = {**whole.outputs, Part.FORGET_TEST: broken}
    assert embedding(evidence(replace(whole, outputs=outputs))) == Doubt("original_not_finite")


# ---- the panels --------------------------------------------------------------------------------------------------


def view_of(classes: tuple[str, ...] = ("cat",), **made: object) -> tuple[DataView, AccessLog]:
    data = tiny_data(**made)  # type: ignore[arg-type]
    split = split_for(ForgetRequest(classes=classes, already_forgotten=("ant",)), data)
    data.fix_shape(0)
    log = AccessLog(data)
    return DataView(data, split, frozenset(Part), reader="audit", log=log, device=CPU.device), log


@pytest.mark.parametrize("make", [small_cnn, tiny_vit])
def test_the_first_sample_of_each_class_is_seen_for_two_classes(make: type[nn.Module]) -> None:
    view, log = view_of()
    models = {"original": make(1), "unlearned": make(1)}
    with torch.no_grad():
        next(p for n, p in models["unlearned"].named_parameters() if n.endswith("weight")).add_(0.3)
    before = {name: {k: v.clone() for k, v in model.state_dict().items()} for name, model in models.items()}
    layer, found = looks(models, view, runtime=CPU)
    assert [(each.label, each.forgotten) for each in found] == [(2, True), (1, False), (3, False)]
    counts = log.summary(view.split)["parts"]
    assert counts["forget_test"]["cat"]["read_by_audit"] == 1  # type: ignore[index]
    assert counts["retain_test"]["bee"]["read_by_audit"] == 1  # type: ignore[index]
    for each in found:
        part = Part.FORGET_TEST if each.forgotten else Part.RETAIN_TEST
        position = torch.nonzero(view.part(part).labels == each.label)[:1, 0]
        image = view.part(part).images(position)
        assert torch.equal(each.pixels, view.part(part).pixels(position)[0])
        for name, model in models.items():
            with torch.no_grad():
                logits = model(image)[0]
            kept = {k: float(logits[k]) for k in (1, 3)}  # neither the forgotten class nor the one forgotten earlier
            assert each.rival[name] == max(kept, key=kept.__getitem__)
            for maps, target in ((each.own, each.label), (each.rival_maps, each.rival[name])):
                expected = enlarged(grad_cam(model, image, layer, target), view.shape)[0]
                torch.testing.assert_close(maps[name], expected, rtol=1e-4, atol=1e-5)
    for name, model in models.items():
        assert all(torch.equal(v, before[name][k]) for k, v in model.state_dict().items())


def test_a_few_classes_stand_for_many() -> None:
    classes = tuple(f"c{i}" for i in range(12))
    data = tiny_data(classes=classes)
    split = split_for(ForgetRequest(classes=classes[:6]), data)
    data.fix_shape(0)
    view = DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=CPU.device)
    from unlearnkit.models import SmallCNN

    _, found = looks({"original": SmallCNN(12, 1, width=4)}, view, runtime=CPU)
    assert [each.label for each in found] == [0, 1, 2, 3, 6, 7]


def test_a_model_without_positions_is_refused() -> None:
    view, _ = view_of()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, len(CLASSES)))
    with pytest.raises(ModelError, match="positions of the image"):
        looks({"original": flat}, view, runtime=CPU)
