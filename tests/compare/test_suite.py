"""A suite's file: what it may say, what is refused in one sentence, and which cells it comes to."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from suites import TINY, tiny
from unlearnkit.compare.cells import cells_of
from unlearnkit.compare.changes import changes
from unlearnkit.compare.reported import only, reported_rows
from unlearnkit.compare.suite import read_suite, shipped, suite_from
from unlearnkit.compare.work import method_of
from unlearnkit.errors import ConfigError
from unlearnkit.training.recipe import Recipe

SETTING = TINY["settings"][0]


def setting(**changed: Any) -> dict[str, Any]:
    return {"settings": [SETTING | changed]}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"titel": "x"}, "got 'titel', which is unknown; did you mean 'title'"),
        (setting(modle="x"), r"a key of settings 1, but got 'modle'.*did you mean 'model'"),
        (setting(requests=[{"forgt": ["3"]}]), r"'forgt'|'forget'"),
        (setting(model="smal-cnn"), "got 'smal-cnn'; did you mean 'small-cnn'"),
        (setting(model="os:system"), "may come from a stranger"),
        (setting(model="timm:hf-hub:someone/net"), "may come from a stranger"),
        (setting(data="hf:someone/images"), "data of this machine, as a suite may come from a stranger"),
        (setting(data="digitz"), "got 'digitz'; did you mean 'digits'"),
        (setting(data="image-folder:x"), "got 'image-folder'; did you mean 'imagefolder'"),
        (setting(data="nothing:x"), "got 'nothing'; there are digits, imagefolder, parquet"),
        (setting(image_size=0), "at least 1"),
        (setting(image_size=10**6), "at most 4096"),
        (setting(requests=[]), "at least 1 item"),
        (setting(requests=[{}]), "a request for something, but got none; write forget, rows"),
        (setting(requests=[{"forget": ["3"], "rows": [1]}]), "no audit can judge both at once, but got 3, 1 rows"),
        (setting(requests=[{"random": 0.1, "after": [["3"]]}]), "random rows without requests before them"),
        (setting(requests=[{"random": 1.0}]), "less than 1"),
        (setting(requests=[{"rows": [-1]}]), "at least 0"),
        (setting(requests=[{"rows": [1]}]) | {"methods": [{"name": "unsir"}]}, "unsir cannot forget rows; those that"),
        (setting(requests=[{"subclass": ["a:b"]}]) | {"methods": [{"name": "delete"}]}, "cannot forget subclasses"),
        (setting(requests=[{"rows": [1]}]) | {"methods": [{"name": "ssd", "trials": 3}]}, "no trials for ssd beside"),
        (setting(samples=50), "samples with parquet:DIR alone"),
        ({"methods": [{"name": "unsr"}]}, "got 'unsr'; did you mean 'unsir'"),
        ({"methods": [{"name": "os:system"}]}, "one of the methods, but got 'os:system'"),
        ({"methods": [{"name": "unsir", "set": ["rounnds=1"]}]}, "did you mean rounds"),
        ({"methods": [{"name": "unsir", "preset": "papr"}]}, "got 'papr'"),
        ({"methods": [{"name": "unsir"}, {"name": "unsir"}]}, "got 'unsir' twice"),
        ({"methods": [{"name": "unsir", "label": "../up"}]}, r"got '\.\./up'"),
        ({"methods": [{"name": "original", "trials": 3}]}, "nothing to search"),
        ({"metrics": ["zfr"]}, "got 'zfr'; did you mean 'zrf'"),
        (
            {"metrics": ["zrf/forget_tset"]},
            "parts that zrf is read on, but got 'forget_tset'; did you mean 'forget_test'",
        ),
        ({"metrics": ["cost_seconds"]}, "one of the metrics, but got 'cost_seconds'"),
        ({"metrics": ["weight_distance/forget_test"]}, "weight_distance without a part"),
        ({"metrics": ["zrf", "zrf"]}, "got 'zrf' twice"),
        (setting(requests=[{"forget": ["3", "4"]}, {"forget": ["4", "3"]}]), "got 4, 3 twice for small-cnn"),
        (
            setting(requests=[{"forget": ["3"], "after": [["1", 2]]}, {"forget": [3], "after": [["2", "1"]]}]),
            "got 3 twice",
        ),
        ({"training_seeds": [True]}, "item 1 of training_seeds of the suite to be a number, but got true; write one"),
        ({"retrained": 2}, "retrained of the suite to be at least 3, but got 2; choose another"),
        ({"audit": "deep"}, "'quick', 'default' or 'full'"),
        ({"training_seeds": []}, "at least 1 item"),
        ({"training_seeds": [1000]}, "from 0 to 999"),
        ({"unlearning_seeds": [1, 1]}, "got 1 twice"),
        ({"unlearning_seeds": list(range(1000)), "training_seeds": list(range(100))}, "got 200,000; divide"),
    ],
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        suite_from(TINY | changed)


SETTINGS = '[[settings]]\ndata = "digits"\nmodel = "small-cnn"\n'
ASKED = SETTINGS + "[[settings.requests]]\n"
PLACE = "requests 1 of settings 1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[methods]\nname = "x"', "Expected methods of the suite to be a list of tables, but got one table; write [[m"),
        ('methods = ["x"]', 'Expected methods 1 to be a table, but got "x"; write [[methods]].'),
        ("methods = []", "Expected at least 1 item in methods of the suite, but got an empty list; write [[methods]]."),
        ("unlearning_seeds = 3", "seeds of the suite to be a list, but got 3; write unlearning_seeds = [3]."),
        ('unlearning_seeds = "x"', 'to be a list, but got "x"; write unlearning_seeds = [0].'),
        (ASKED + 'forget = "3"', f'Expected forget of {PLACE} to be a list, but got "3"; write forget = ["3"].'),
        (ASKED + "forget = 3.5", 'to be a list, but got 3.5; write forget = ["..."].'),
        (ASKED + "forget = [3.5]", f"item 1 of forget of {PLACE} to be a name or a whole number, but got 3.5; write "),
        (ASKED + "forget = [true]", "to be a name or a whole number, but got true; write "),
        (ASKED + 'after = "4"', 'to be a list, but got "4"; write after = [["4"]].'),
        (
            ASKED + 'after = ["4"]',
            'Expected item 1 of after of requests 1 of settings 1 to be a list, but got "4"; wri',
        ),
        (ASKED + 'where = ["a=b", 3]', f"Expected item 2 of where of {PLACE} to be text, but got 3; write it in"),
        (ASKED + "rows = [4, -1]", f"Expected item 2 of rows of {PLACE} to be at least 0, but got -1; choose another."),
        (ASKED + "rows = [1.5]", "to be a whole number, but got 1.5; write it without quotes or fractions."),
        (ASKED + "random = 1.5", f"Expected random of {PLACE} to be less than 1.0, but got 1.5"),
        (ASKED + "random = nan", "to be less than 1.0, but got nan"),
        (ASKED + 'random = "x"', 'to be a number, but got "x"'),
        (SETTINGS + 'image_size = "a"', 'Expected image_size of settings 1 to be a whole number, but got "a"'),
        (SETTINGS + 'pretrained = "maybe"', 'pretrained of settings 1 to be true or false, but got "maybe"'),
        (f'title = "{"x" * 201}"', "Expected title of the suite to be text of 200 characters at most, but got"),
        ("retrained = 1e30", "to be a whole number, but got 1e+30"),
        (SETTINGS + "image_size = 1e30", "image_size of settings 1 to be a whole number, but got 1e+30"),
        (
            SETTINGS + f"image_size = 0x{'f' * 9_000}",
            "to be at most 4096, but got a number of very many digits; choose",
        ),
        (SETTINGS + "label_column = 1979-05-27", "Expected label_column of settings 1 to be text, but got 1979-05-27"),
        (SETTINGS + "image_size = true", "image_size of settings 1 to be a number, but got true; write one."),
        (ASKED + "rows = [true]", f"item 1 of rows of {PLACE} to be a number, but got true"),
        (ASKED + "random = true", "to be a number, but got true"),
        (f'audit = "{"x" * 99}"', f"to be 'quick', 'default' or 'full', but got \"{'x' * 60}...\"; write one of them."),
        ('title = ""', 'to be text of 1 character or more, but got ""'),
        ("retrained = inf", "retrained of the suite to be finite, but got inf"),
        ('[[methods]]\nname = "unsir"\ntrials = -1', "Expected trials of methods 1 to be at least 0, but got -1"),
        (
            SETTINGS + "[settings.requests]",
            "of settings 1 to be a list of tables, but got one table; write [[settings.r",
        ),
    ],
)
def test_a_wrong_shape_is_named_in_the_words_of_the_file(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suite_from(TINY | tomllib.loads(text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expected 'title' in the suite, but the suite lacks it; write title = \"...\"."),
        ('title = "x"', "Expected 'settings' in the suite, but the suite lacks it; write [[settings]]."),
        (f'title = "x"\n{SETTINGS}', "'requests' in settings 1, but settings 1 lacks it; write [[settings.requests]]."),
    ],
)
def test_what_a_suite_lacks_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        suite_from(tomllib.loads(text))
    assert said in str(caught.value)


def test_files_that_hold_no_suite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 'digit'; did you mean 'digits'"):
        read_suite("digit")
    with pytest.raises(ConfigError, match="No such file"):
        read_suite(str(tmp_path / "none.toml"))
    deep = "[" * 50_000
    for name, text, said in (
        ("deep", f"title = {deep}", "nested too deeply"),
        ("a", "title =", "Expected TOML"),
        ("b", "\udcff", "Expected TOML"),
        ("c d", "", "rename the file"),
    ):
        path = tmp_path / f"{name}.toml"
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ConfigError, match=said):
            read_suite(str(path))


def test_a_suite_may_begin_with_the_mark_that_some_editors_write(tmp_path: Path) -> None:
    text = 'title = "x"\n[[settings]]\ndata = "digits"\nmodel = "small-cnn"\nrequests = [{ forget = ["3"] }]\n'
    (tmp_path / "marked.toml").write_text(text + '[[methods]]\nname = "unsir"\n', encoding="utf-8-sig")
    assert read_suite(str(tmp_path / "marked.toml"))[1].title == "x"


def test_requests_that_follow_others_in_another_order_are_different() -> None:
    requests = [{"forget": ["3"], "after": [["1"], ["2"]]}, {"forget": ["3"], "after": [["2"], ["1"]]}]
    assert suite_from(TINY | setting(requests=requests)).size == 4


@pytest.mark.slow
def test_every_shipped_suite_can_be_read_and_has_a_reduced_one() -> None:
    names = set(shipped())
    suites = {name: read_suite(name)[1] for name in names}
    full = {name for name in names if not name.endswith(("-small", "digits"))}  # digits are small
    assert {f"{name}-small" for name in full} <= names
    assert all(suite.size > 1 for suite in suites.values())
    for row in reported_rows().values():
        runs = 1 if row.suite.endswith("-small") else 9  # three training seeds and three of unlearning
        assert only(suites[row.suite], row).size == runs, row.id
    with pytest.raises(ConfigError, match="has none; choose another"):
        only(tiny(), next(iter(reported_rows().values())))


def test_no_shipped_suite_asks_for_more_of_a_class_than_its_data_have() -> None:
    """Training images of the smallest class, 5 % of them held out; of a person there may be a handful."""
    there = {"cifar10": 4750, "cifar100": 475, "faces_lfw158": 1}
    for name in shipped():
        suite = read_suite(name)[1]
        smallest = min(there.get(setting.data.rpartition("/")[2], 100) for setting in suite.settings)
        for method in suite.methods:
            wanted = getattr(method.choice().make(), "retain_per_class", None)
            assert wanted is None or wanted <= smallest, f"{name}: {method.shown}"


def test_a_cell_is_named_by_what_decides_it() -> None:
    def names(**changed: Any) -> set[str]:
        return {cell.name for cell in cells_of(tiny(**changed))}

    assert len(names()) == 2
    assert names(title="other", note="x") == names()
    assert not names() & names(audit="default")
    assert not names() & names(retrained=4)
    assert not names() & names(**setting(recipe=["epochs=2"]))
    assert len(names(unlearning_seeds=[0, 1]) & names()) == 2
    both = [{"forget": ["3"]}, {"forget": ["3"], "after": [["8"]]}]
    assert len(names(**setting(requests=both)) & names()) == 2
    cells = cells_of(tiny(training_seeds=[0, 1], **setting(requests=both)))
    assert len({cell.original.name for cell in cells}) == 2
    assert len({cell.references.name for cell in cells}) == 2  # all originals of a setting share them


def test_requests_for_rows_have_cells_and_retrained_models_of_their_own() -> None:
    requests = [
        {"random": 0.01},
        {"random": 0.01, "draw": 1},
        {"rows": [4, 9]},
        {"subclass": ["a:b"]},
        {"where": ["c=d"]},
    ]
    cells = cells_of(tiny(**setting(requests=[*requests, {"forget": ["3"]}])))
    assert len({cell.references.name for cell in cells}) == len(requests) + 1
    assert len({cell.name for cell in cells}) == len(cells)
    named = [cell.request.named for cell in cells[::2]]
    assert named == [("1% of the rows",), ("1% of the rows",), ("2 rows",), ("part a:b",), ("c=d",), ("3",)]
    assert cells[-1].request.model_dump() == {"forget": ("3",), "after": ()}, "older cells keep their names"
    assert "samples" not in cells[-1].as_record()


def test_a_changed_suite_is_said_line_by_line() -> None:
    def record(**changed: Any) -> dict[str, Any]:
        return {"name": "tiny", "suite": tiny(**changed).model_dump(mode="json")}

    assert changes(record(), record()) == []
    new = {"retrained": 5, "methods": [{"name": "original"}, {"name": "finetune"}], **setting(recipe=["epochs=9"])}
    lines = changes(record(), record(**new))
    assert [line.removeprefix("changed since the last run here: ").partition(":")[0] for line in lines] == [
        "setting small-cnn,width=4 on digits",
        "method ssd",
        "retrained",
        "method finetune",
    ]
    assert lines[1].endswith("not there any more")
    assert lines[2].endswith("retrained: 3, now 5")
    assert lines[3].endswith("new")
    requests = [{"forget": ["3"]}, {"forget": ["0", "1", "2", "5"], "after": [["4"]]}]
    (line,) = changes(record(), record(**setting(requests=requests)))
    assert line.endswith("""request {"forget": "0 to 2, 5", "after": [["4"]]}: new""")


def test_another_suite_is_not_said_line_by_line() -> None:
    def record(name: str, **changed: Any) -> dict[str, Any]:
        return {"name": name, "suite": tiny(**changed).model_dump(mode="json")}

    renamed = changes(record("a"), record("b", retrained=5))
    assert [line.rpartition("here: ")[2] for line in renamed] == ["name: a, now b", "retrained: 3, now 5"]
    other = changes(record("a"), record("b", **setting(model="allcnn", requests=[{"forget": ["7"]}])))
    assert other == ["another suite than the last one here, which was a"]


def test_retraining_takes_over_the_whole_recipe_of_the_original(tmp_path: Path) -> None:
    """A transformer's original was trained by AdamW, and its retrained row by SGD at that rate: it learned nothing."""
    changed = {"optimizer": "adamw", "momentum": 0.5, "nesterov": False, "weight_decay": 0.25, "schedule": "cosine"}
    more = {"warmup": 0.1, "clip_value": 2.0, "norm_bias_lr": 3.0, "lookahead": True, "max_shift": 1, "lr": 0.25}
    recipe = Recipe(epochs=3, batch_size=7, label_smoothing=0.125, **changed, **more)
    (tmp_path / "config.json").write_text(json.dumps({"recipe": recipe.model_dump()}))
    (cell,) = cells_of(tiny(methods=[{"name": "retrain", "set": ["epochs=5"]}]))
    made = method_of(cell, tmp_path / "model.safetensors").make()
    assert made.model_dump() == {**recipe.model_dump(), "epochs": 5, "augment": False}
