"""Pictures of samples: drawn right, written only where they may be, deleted where they may not, shown in the page."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from commands import FAST, run_cli
from pictures_on_disk import png
from report_folders import HOSTILE, Make, audit_json
from report_pages import Reader
from unlearnkit.audit.doubts import Doubt
from unlearnkit.data import AccessLog
from unlearnkit.data.sources.registry import load_data
from unlearnkit.data.sources.torchvision_sets import KINDS
from unlearnkit.errors import OutputError
from unlearnkit.models import SmallCNN
from unlearnkit.report import render
from unlearnkit.report.text import isolated
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import split_for
from unlearnkit.steps import drawing
from unlearnkit.steps.audit import audit_folder, audit_pair
from unlearnkit.steps.auditing import AuditInputs, AuditOptions, Depth, audit_artefacts
from unlearnkit.steps.output import Output
from unlearnkit.steps.pictures import PICTURES, Drawn, Pictures, noise
from unlearnkit.steps.report import report_run
from unlearnkit.steps.specs import CaseSpec, TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.steps.verify import verify_run

pytestmark = [
    pytest.mark.usefixtures("brief_audits"),
    pytest.mark.xdist_group("pictures"),
]  # one process makes the run with pictures of people
CPU = Runtime(device=torch.device("cpu"))
QUICK = AuditOptions(depth=Depth.QUICK)
HOSTILE_NAME = "<img src=x onerror=alert(1)> & {0}"
NAMES = ("ann", HOSTILE_NAME, "cem", "dee")
MISSING = {"missing": "personal"}


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


# ---- drawing -----------------------------------------------------------------------------------------------------


def test_noise_is_grey_at_zero_and_white_at_its_limit() -> None:
    values = torch.tensor([0.0, 2.0, -2.0, 1.0, -9.0, 9.0]).view(6, 1, 1, 1).expand(6, 1, 2, 2)
    drawn = opened(drawing.strip(values, 2.0))
    side, step = drawing.TILE, drawing.TILE + drawing.GAP
    assert drawn.shape == (side, 6 * step - drawing.GAP, 4)
    shades = [drawn[side // 2, i * step + side // 2].tolist() for i in range(6)]
    assert [s[0] for s in shades] == [128, 255, 0, 191, 0, 255]
    assert all(s[0] == s[1] == s[2] and s[3] == 255 for s in shades)
    assert drawn[0, side + 1, 3] == 0  # the paper is seen between them


def test_the_middle_of_large_noise_is_shown_pixel_by_pixel() -> None:
    images = torch.full((1, 3, 224, 224), -1.0)
    images[:, :, 64:160, 64:160] = 1.0
    drawn = opened(drawing.strip(images, 1.0))
    assert (drawn == 255).all()


def test_a_map_colours_what_it_covers_and_nothing_else() -> None:
    pixels = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    pixels[0] = 200
    none, half = torch.zeros(16, 16), torch.zeros(16, 16)
    half[:, 8:] = 1.0
    drawn = opened(drawing.attention(pixels, [[none, half], [half, none]]))
    side, step = drawing.TILE, drawing.TILE + drawing.GAP
    assert drawn.shape == (2 * step - drawing.GAP, 3 * step - drawing.GAP, 4)

    def at(row: int, column: int, x: int) -> list[int]:
        return drawn[row * step + side // 2, column * step + x].tolist()

    grey = round(0.299 * 200 + 0.587 * 100 + 0.114 * 100)
    heated = [round(0.2 * grey + 0.8 * c) for c in (230, 120, 0)]
    assert at(0, 0, 5) == [200, 100, 100, 255]
    assert at(1, 0, 5) == [0, 0, 0, 0]
    assert at(0, 1, 120) == at(1, 2, 120) == at(0, 2, 5) == [grey] * 3 + [255]
    assert at(0, 2, 120) == at(1, 1, 120) == [*heated, 255]


def test_points_lie_where_they_are_and_are_told_apart_by_their_form() -> None:
    points = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])
    drawn = opened(drawing.plane(points, torch.tensor([True, False, False])))
    near, far = (round(drawing.PLANE / 2 * (1 + place / 1.06)) for place in (-1, 1))
    solid = drawn[:, :, 3] > 200
    assert solid[far, near]  # low is at the bottom: a cross, filled in its middle
    assert not solid[near, far]  # a ring is not
    assert solid[near, far - 6 : far + 7].any()
    assert not solid[far, far]
    assert drawn[far, near, :3].tolist() == pytest.approx(drawing.CROSS[:3], abs=12)
    assert (drawn[:, :, 3] == 0).mean() > 0.99


@pytest.mark.parametrize("points", [torch.zeros(1, 2), torch.full((5, 2), 1e9), torch.randn(400, 2) * 1e-9])
def test_any_spread_is_drawn(points: Tensor) -> None:
    assert opened(drawing.plane(points, torch.zeros(len(points), dtype=torch.bool)))[:, :, 3].any()


@pytest.mark.parametrize(("high", "wide", "channels"), [(8, 8, 1), (32, 16, 3), (224, 224, 3), (1, 500, 3)])
def test_images_of_any_form_become_tiles(high: int, wide: int, channels: int) -> None:
    pixels = torch.zeros(channels, high, wide, dtype=torch.uint8)
    drawn = opened(drawing.attention(pixels, [[torch.zeros(high, wide)]]))
    assert max(drawn.shape[0], (drawn.shape[1] - drawing.GAP) // 2) == drawing.TILE


# ---- what may be written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("personal", "include"), [(False, False), (False, True), (True, True), (True, False)])
def test_of_personal_data_nothing_is_drawn_unless_asked_for(personal: bool, include: bool) -> None:
    calls: list[int] = []

    def draw() -> Drawn:
        calls.append(1)
        return Drawn(said={"pictures": [{"file": "a.png"}]}, files={"a.png": b"x"})

    found = Pictures.drawn(personal=personal, include_images=include, figures={"embedding": draw}).artefacts()
    allowed = include or not personal
    assert len(calls) == allowed
    assert set(found) == {PICTURES} | ({"a.png"} if allowed else set())
    said = found[PICTURES]
    assert isinstance(said, dict)
    assert (said["personal"], said["include_images"]) == (personal, include)
    assert said["figures"]["embedding"] == ({"pictures": [{"file": "a.png"}]} if allowed else MISSING)


def test_all_noise_is_on_one_scale_and_of_a_few_classes() -> None:
    images = {k: torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(k)) * k for k in range(11, 0, -1)}
    classes = tuple(str(k) for k in range(12))
    found = noise(images, classes)
    assert list(found.files) == [f"noise-{k}.png" for k in range(1, 9)]
    assert found.said["classes"] == 11
    values = np.concatenate([images[k].numpy().ravel() for k in range(1, 9)])
    assert found.said["limit"] == pytest.approx(np.quantile(np.abs(values), 0.99), rel=1e-6)
    assert found.files["noise-3.png"] == drawing.strip(images[3], found.said["limit"])


def test_sources_say_whether_they_may_show_people(people: tuple[Path, Path]) -> None:
    assert not load_data("digits").personal
    assert load_data(f"imagefolder:{people[0]}").personal  # nobody knows
    assert load_data(f"imagefolder:{people[0]}").with_classes((*sorted(NAMES), "more")).personal
    assert {name for name, kind in KINDS.items() if kind.people} == {"CIFAR100", "DTD", "Imagenette"}


# ---- run folders -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of images that nothing is known of, and weights trained on them."""
    folder = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [120, 120, 120]])
    for name, colour in zip(NAMES, colours, strict=True):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(30):
            pixels = colour + rng.integers(-30, 30, (12, 12, 3))
            (folder / "data" / name / f"secret-{i}.png").write_bytes(png(pixels.clip(0, 255).astype(np.uint8)))
    out = folder / "original"
    spec = TrainSpec(model="small-cnn", data=f"imagefolder:{folder / 'data'}", settings=["epochs=2"])
    train_run(spec, Output(out), runtime=CPU)
    return folder / "data", out / "model.safetensors"


def forget(people: tuple[Path, Path], out: Path, *more: str) -> Path:
    done = run_cli(
        *("forget", "--weights", people[1], "--data", f"imagefolder:{people[0]}", "--device", "cpu", "-q"),
        *("--method", "unsir", "--forget", "ann", "--forget", HOSTILE_NAME, "--out", out, *more),
    )
    assert done.code == 0, done.err
    return out


@pytest.fixture(scope="module")
def shown(people: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run with pictures of people, as asked for, audited in full."""
    return forget(people, tmp_path_factory.mktemp("shown") / "run", "--include-images")


@pytest.fixture
def copied(shown: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for file in shown.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def said(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / PICTURES).read_text(encoding="utf-8"))
    return content


def drawings(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.png")}


def page_of(folder: Path) -> Reader:
    return Reader((folder / "report.html").read_text(encoding="utf-8"))


def images(page: Reader) -> Iterator[dict[str, str | None]]:
    return (attributes for tag, attributes in page.elements if tag == "img")


@pytest.mark.slow
def test_pictures_that_were_asked_for_are_there_with_their_hashes(shown: Path) -> None:
    content = said(shown)
    assert (content["personal"], content["include_images"]) == (True, True)
    assert set(content["figures"]) == {"noise", "embedding", "attention"}
    listed = {each["file"] for figure in content["figures"].values() for each in figure["pictures"]}
    assert drawings(shown) == listed
    assert {"noise-0.png", "embedding-original.png", "embedding-unlearned.png", "attention-1.png"} <= listed
    manifest = json.loads((shown / "manifest.json").read_text(encoding="utf-8"))["artefacts"]
    assert listed | {PICTURES} <= set(manifest)
    assert verify_run(shown)["ok"]
    assert content["figures"]["embedding"]["forgotten"] == content["figures"]["embedding"]["retained"] == 12
    labels = [(each["label"], each["forgotten"]) for each in content["figures"]["attention"]["pictures"]]
    assert labels == [(HOSTILE_NAME, True), ("ann", True), ("cem", False), ("dee", False)]


@pytest.mark.slow
def test_no_file_name_pixel_or_place_of_a_sample_is_written_as_text(shown: Path) -> None:
    for path in shown.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert "secret-" not in text
        assert "points" not in text
    known = {"label", "file", "forgotten", "rivals", "model", "explained"}
    for figure in said(shown)["figures"].values():
        assert all(set(each) <= known for each in figure["pictures"])
    assert "secret-" not in (shown / "report.html").read_text(encoding="utf-8")
    for name in drawings(shown):
        assert Image.open(shown / name).info.keys() <= {"transparency"}  # no text inside the file


@pytest.mark.slow
def test_the_page_shows_them_and_names_them_safely(shown: Path) -> None:
    page = page_of(shown)
    found = list(images(page))
    assert len(found) == len(drawings(shown))
    for one in found:
        head, _, data = (one["src"] or "").partition(",")
        assert head == "data:image/png;base64"
        content = base64.b64decode(data, validate=True)
        assert Image.open(io.BytesIO(content)).size == (int(one["width"] or 0), int(one["height"] or 0))
        assert one["alt"]
        assert set(one) == {"src", "alt", "width", "height"}
    alts = [one["alt"] or "" for one in found]
    assert any(f"Test sample of “{HOSTILE_NAME}” (forgotten)" in alt for alt in alts)
    assert any("12 samples of forgotten classes" in alt for alt in alts)
    assert f"Noise for the class “{HOSTILE_NAME}”" in page.text
    policy = next(a["content"] or "" for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "img-src data:;" in policy
    assert (shown / "report.html").stat().st_size < 5_000_000
    assert re.search(r"may show people ?yes ?pictures of samples asked for ?yes", page.text)


@pytest.mark.slow
def test_a_later_audit_without_the_option_takes_them_away(copied: Path) -> None:
    weights = (copied / "model.safetensors").read_bytes()
    audit_folder(Output(copied), options=QUICK, runtime=CPU)
    assert drawings(copied) == set()
    content = said(copied)
    assert (content["personal"], content["include_images"]) == (True, False)
    assert content["figures"] == dict.fromkeys(("noise", "embedding", "attention"), MISSING)
    assert verify_run(copied)["ok"]
    page = page_of(copied)
    assert not list(images(page))
    assert page.text.count("Left out: the data may show people") == 3
    assert "`unlearnkit audit --include-images` puts it in" in page.text
    assert "`unlearnkit forget --include-images` puts it in" in page.text
    report_run(copied)
    assert not list(images(page_of(copied)))
    assert (copied / "model.safetensors").read_bytes() == weights

    audit_folder(Output(copied, include_images=True), options=QUICK, runtime=CPU)
    assert drawings(copied) == {"embedding-original.png", "embedding-unlearned.png"}
    assert said(copied)["figures"]["noise"] == MISSING  # it was not kept, and cannot be made again
    assert said(copied)["figures"]["attention"] == {"missing": "quick"}
    assert "Left out by --quick" in page_of(copied).text


@pytest.mark.slow
def test_a_later_audit_with_the_option_keeps_the_noise(copied: Path) -> None:
    before = (copied / "noise-0.png").read_bytes()
    audit_folder(Output(copied, include_images=True), options=QUICK, runtime=CPU)
    assert (copied / "noise-0.png").read_bytes() == before
    assert "attention-1.png" not in drawings(copied)
    assert "noise-0.png" in {each["file"] for each in said(copied)["figures"]["noise"]["pictures"]}
    assert verify_run(copied)["ok"]
    report_run(copied)
    assert len(list(images(page_of(copied)))) == len(drawings(copied))


@pytest.mark.slow
def test_a_report_that_cannot_be_drawn_does_not_leave_the_old_pictures(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path, **_: object) -> Path:
        raise OutputError("no report")

    monkeypatch.setattr("unlearnkit.steps.audit.report_run", fail)
    with pytest.raises(OutputError, match="no report"):
        audit_folder(Output(copied), options=QUICK, runtime=CPU)
    assert drawings(copied) == set()
    assert not (copied / "report.html").exists()


@pytest.mark.slow
def test_without_the_option_no_picture_is_ever_written(people: tuple[Path, Path], tmp_path: Path) -> None:
    run = forget(people, tmp_path / "run", "--no-audit")
    assert drawings(run) == set()
    assert said(run)["figures"] == {"noise": MISSING}
    pair = tmp_path / "pair"
    spec = CaseSpec(weights=people[1], data=f"imagefolder:{people[0]}", forget=("ann", HOSTILE_NAME))
    audit_pair(spec, run / "model.safetensors", Output(pair), options=QUICK, runtime=CPU)
    assert drawings(pair) == set()
    assert said(pair)["figures"] == {"embedding": MISSING, "attention": MISSING}
    assert not list(images(page_of(pair)))


def test_a_method_that_makes_no_images_has_no_figure_of_them(people: tuple[Path, Path], tmp_path: Path) -> None:
    run = forget(people, tmp_path / "run", "--no-audit", "--include-images", "--method", "head-mask")
    assert said(run)["figures"] == {}
    report_run(run)
    assert "The noise that stood for" not in page_of(run).text


@pytest.mark.slow
def test_digits_are_shown_without_the_option(narrow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    weights = narrow_run / "model.safetensors"
    options = ("--data", "digits", "--forget", "3", "--quick", "-q", *FAST)
    done = run_cli("forget", "--weights", weights, *options, "--out", out)
    assert done.code == 0, done.err
    assert (said(out)["personal"], said(out)["include_images"]) == (False, False)
    assert drawings(out) == {"noise-3.png", "embedding-original.png", "embedding-unlearned.png"}
    assert said(out)["figures"]["attention"] == {"missing": "quick"}
    assert "may show people" not in page_of(out).text.split("Where it comes from")[0]


@pytest.mark.slow
@pytest.mark.parametrize("personal", [True, False])
def test_stand_ins_of_people_are_people_too(personal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_data("digits")
    kept = [torch.nonzero(side.labels != 3).flatten() for side in (whole.train, whole.test)]

    def without(side: Any, rows: Tensor) -> Any:
        from unlearnkit.data import ImageSet

        pixels = torch.cat([side._decode([int(row)], (1, 8, 8)) for row in rows[:300]])
        return ImageSet.from_tensor(pixels, side.labels[rows[:300]])

    data = replace(whole, train=without(whole.train, kept[0]), test=without(whole.test, kept[1]))
    monkeypatch.setattr(
        "unlearnkit.steps.auditing.stand_ins_for",
        lambda _data, _source: replace(load_data("digits"), personal=personal),
    )
    split = split_for(ForgetRequest(classes=("3",)), data)
    data.fix_shape(0)
    inputs = AuditInputs(
        data=data,
        split=split,
        original=SmallCNN(10, 1),
        unlearned=SmallCNN(10, 1),
        retrained=[],
        access=AccessLog(data),
        costs={},
        model="small-cnn",
    )
    looked = AuditOptions(depth=Depth.QUICK, audit_data="digits")
    _, pictures, _ = audit_artefacts(inputs, seed=0, runtime=CPU, progress=None, options=looked)
    assert pictures.personal == personal
    assert bool(pictures.figures["embedding"].files) != personal


# ---- the page of a folder that is not as it should be -----------------------------------------------------------


def listing(name: str, label: str = "cat") -> dict[str, Any]:
    noise = {"limit": 2.0, "classes": 3, "pictures": [{"file": name, "label": label}]}
    return {"personal": False, "include_images": False, "figures": {"noise": noise}}


@pytest.mark.parametrize("name", ["../outside.png", "noise-9.png", "config.json", ""])
def test_only_pictures_of_the_folder_are_shown(make: Make, name: str) -> None:
    folder = make(pictures=listing(name))
    (folder.parent / "outside.png").write_bytes(drawing.strip(torch.zeros(1, 1, 4, 4), 1.0))
    with pytest.raises(OutputError, match=r"Expected a name of a file in|but there is none|run the audit again"):
        render(folder)


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_names_are_text_in_captions(make: Make, label: str) -> None:
    folder = make(pictures=listing("noise-0.png", label))
    (folder / "noise-0.png").write_bytes(drawing.strip(torch.zeros(1, 1, 4, 4), 1.0))
    page = Reader(render(folder))
    assert page.open == []
    (one,) = images(page)
    assert one["alt"] == f"Noise for the class “{isolated(label)}”".replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert "2 more classes are not shown" in page.text


def test_stand_ins_are_called_so(make: Make) -> None:
    drawn = {"forgotten": 1, "retained": 1, "pictures": [{"file": "embedding-original.png", "model": "original"}]}
    listed = {"personal": False, "include_images": False, "figures": {"embedding": drawn}}
    for source, said_so in ((None, False), ("imagefolder:/elsewhere", True)):
        folder = make(pictures=listed, audit=audit_json(["cat", "dog"]) | {"stand_ins": source})
        (folder / "embedding-original.png").write_bytes(drawing.plane(torch.zeros(1, 2), torch.ones(1).bool()))
        assert ("are stand-ins of another origin" in Reader(render(folder)).text) == said_so
        (folder / "embedding-original.png").unlink()


def test_a_reason_is_said(make: Make) -> None:
    reasons = (Doubt("no_samples", {"part": "forget_test"}), Doubt("remark", {"text": "Expected <b>"}))
    figures = {
        name: {"missing": asdict(reason)} for name, reason in zip(("embedding", "attention"), reasons, strict=True)
    }
    page = Reader(render(make(pictures={"personal": True, "include_images": True, "figures": figures})))
    assert "Not available: forget_test has no samples." in page.text
    assert "Not available: Expected <b>." in page.text
