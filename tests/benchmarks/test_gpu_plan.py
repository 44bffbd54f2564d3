"""What the benchmark that needs a GPU plans within a budget, what it leaves out, and what it packs to be carried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gpu
import gpu_pack
import gpu_plan
from gpu_book import RESERVE, Book, Step, Unit
from gpu_course import Course
from real_data import folder


def book_of(tmp_path: Path, budget: float | None, **expected: float) -> Book:
    return Book(tmp_path, tmp_path, budget, smoke=True, expected={k.replace("_", " "): v for k, v in expected.items()})


def nothing() -> dict[str, Any]:
    return {"done": True}


def test_what_fits_is_planned_before_work_begins_and_done_as_planned(tmp_path: Path) -> None:
    book = book_of(tmp_path, 100.0 + RESERVE, train_net=30, references_net=5, method_net=10, train_large=200)
    models = Step(name="net", units=tuple(Unit(name=f"m{i}", kind="train net", make=nothing) for i in range(2)))
    opened = Unit(name="references-net", kind="references net", make=nothing, needs=("net/m0",), memory=True)
    large = Step(name="large", units=(Unit(name="m", kind="train large", make=nothing),))
    after = Step(name="after", units=(Unit(name="x", kind="method large x", make=nothing, needs=("large/m",)),))
    rows = tuple(Unit(name=f"r{i}", kind=f"method net {i}", make=nothing, needs=(opened.name,)) for i in range(4))
    steps = [models, large, after, Step(name="rows", units=(opened, *rows))]
    chosen, out = book.plan(steps)
    assert [(step, unit.name, seconds) for step, unit, seconds in chosen] == [
        ("net", "m0", 30),
        ("net", "m1", 30),
        ("rows", "references-net", 5),
        ("rows", "r0", 10),
        ("rows", "r1", 10),
        ("rows", "r2", 10),
    ]
    assert out == ["large/m", "after/x", "rows/r3"]
    gpu.show(book, steps)
    for step in steps:
        book.do(step)
    assert book.left_out == ["large/m", "after/x"]  # what was done took less than was expected
    assert book.plan(steps) == ([], ["large/m", "after/x"])
    other = book_of(tmp_path, None, train_net=30)
    assert [unit.name for _, unit, _ in other.plan(steps)[0]] == ["m", "x"]
    fifth = Unit(name="r4", kind="method net 4", make=nothing, needs=(opened.name,))
    chosen, _ = other.plan([Step(name="rows", units=(opened, *rows, fifth))])
    assert [unit.name for _, unit, _ in chosen] == ["references-net", "r4"]  # memory is gone with its process


def test_the_first_unit_is_left_out_too_where_it_would_take_too_long(tmp_path: Path) -> None:
    book = book_of(tmp_path, 10.0 + RESERVE, train_net=30)
    book.do(Step(name="net", units=(Unit(name="m", kind="train net", make=nothing),)))
    assert (book.steps, book.left_out) == ({}, ["net/m"])


def test_what_lives_in_memory_is_not_made_where_nothing_that_needs_it_fits(tmp_path: Path) -> None:
    book = book_of(tmp_path, 100.0 + RESERVE, references_net=60, method_net=50, train_net=80)
    opened = Unit(name="references-net", kind="references net", make=nothing, memory=True)
    row = Unit(name="r", kind="method net r", make=nothing, needs=(opened.name,))
    steps = [
        Step(name="rows", units=(opened, row)),
        Step(name="net", units=(Unit(name="m", kind="train net", make=nothing),)),
    ]
    chosen, out = book.plan(steps)
    assert ([unit.name for _, unit, _ in chosen], out) == (["m"], ["rows/r"])
    for step in steps:
        book.do(step)
    assert (list(book.steps), book.left_out) == (["net"], ["rows/r"])


def test_work_that_a_killed_process_had_done_tells_nothing_of_its_time(tmp_path: Path) -> None:
    book = book_of(tmp_path, None, method_net=50)
    found = {"kind": "method net r", "seconds": 0.02, "failure": None, "result": {"cost": {"seconds": 40.0}}}
    book.steps = {"rows": {"r": found, "s": found}}
    assert book.expected("method net r") == 50
    book.steps["rows"]["t"] = found | {"seconds": 41.0}
    assert book.expected("method net r") == pytest.approx(1.1 * 41)


def test_a_unit_is_left_out_where_similar_ones_took_longer_than_is_left(tmp_path: Path) -> None:
    book = book_of(tmp_path, 100.0 + RESERVE, train_small=1)
    unit = {"failure": None, "result": {"done": True}}
    book.steps = {"small": {"original": unit | {"kind": "train small", "seconds": 200.0}}}
    book.do(Step(name="small", units=(Unit(name="retrained-0", kind="train small", make=nothing),)))
    assert book.left_out == ["small/retrained-0"]
    book.steps["small"]["retrained-1"] = unit | {"kind": "train other", "seconds": 1.0}
    book.do(Step(name="other", units=(Unit(name="original", kind="train other", make=nothing),)))
    assert book.done("other") == {"original": {"done": True}}


def test_another_kind_of_run_keeps_its_folder(tmp_path: Path) -> None:
    book_of(tmp_path, None).do(Step(name="net", units=(Unit(name="m", kind="train net", make=nothing),)))
    with pytest.raises(SystemExit, match="holds models that were trained otherwise"):
        Book(tmp_path, tmp_path, None, smoke=False)
    with pytest.raises(SystemExit, match="give another folder"):
        Book(tmp_path, tmp_path, None, smoke=True, asked={"airbench": {"recipe": ["epochs=2"]}})


def test_a_plan_writes_nothing_and_knows_every_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--plan", "--budget", "540", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.endswith("s of 540 s")
    assert list(tmp_path.iterdir()) == []
    book = Book(tmp_path, tmp_path, None, smoke=False, expected=gpu_plan.SECONDS)
    sources = dict.fromkeys(("cifar10", "cifar100"), "parquet:x")
    chosen, out = book.plan(Course(book, gpu_plan.FULL, sources).steps())
    assert out == []
    assert all(seconds > 0 for _, _, seconds in chosen)


def parquet(folder: Path, sizes: tuple[int, int]) -> None:
    folder.mkdir(parents=True)
    for name, size in zip(("train.parquet", "test.parquet"), sizes, strict=True):
        (folder / name).write_bytes(bytes(range(256)) * size)


def test_images_are_packed_below_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in gpu_pack.SETS:
        parquet(tmp_path / "data" / name, (3, 1))
    monkeypatch.setattr(gpu_pack, "LIMIT", 1500)
    into = tmp_path / "packed"
    told = ["--pack", str(into), "--data", str(tmp_path / "data")]
    gpu.main(told)
    assert capsys.readouterr().out == f"0.0 MB in {into}\n"
    assert (into / "cifar10" / "train.parquet").read_bytes() == (
        tmp_path / "data" / "cifar10" / "train.parquet"
    ).read_bytes()
    with pytest.raises(SystemExit, match="cifar10 and cifar100 are 0 MB together; pack one of them at a time"):
        gpu.main([*told, "--sets", "cifar10", "cifar100"])
    assert not (into / "cifar100").exists()
    (tmp_path / "data" / "cifar100" / "test.parquet").unlink()
    with pytest.raises(SystemExit, match=r"cifar100/test.parquet, but there is no such file"):
        gpu.main([*told, "--sets", "cifar100"])


@pytest.mark.parametrize("name", gpu_pack.SETS)
def test_each_real_data_set_is_below_the_limit(name: str, tmp_path: Path) -> None:
    root = Path(folder(name).removeprefix("parquet:")).parent
    assert gpu_pack.pack(root, tmp_path, [name]) < gpu_pack.LIMIT
