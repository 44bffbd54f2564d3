"""Every language says the same things: the same names, keys and placeholders, and no English left in a translation."""

from __future__ import annotations

import html
import json
import re
import string
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from report_folders import ANIMALS as CLASSES
from report_folders import HOSTILE, artefacts, audit_json, drawn, judged_audit, measured_audit, page, reading
from report_pages import Reader, files
from unlearnkit import report
from unlearnkit.audit.doubts import CODES, PLACEHOLDERS, Doubt, no_samples, unknown
from unlearnkit.audit.metric import ROWS
from unlearnkit.audit.metrics.registry import METRICS
from unlearnkit.audit.verdict import MOST_ASKED
from unlearnkit.data.duplicates import Duplicates
from unlearnkit.errors import ConfigError
from unlearnkit.report import render
from unlearnkit.report.sentences import Doubt as Said
from unlearnkit.report.sentences import filled, marked, plain, read_doubt, told
from unlearnkit.report.text import made_at, points, quantity, seconds, shorten, span
from unlearnkit.report.words import CHINESE as ZH
from unlearnkit.report.words import ENGLISH as EN
from unlearnkit.report.words import LANGUAGES, Words, of_pictures, speaking
from unlearnkit.run_dir import versions

TRANSLATIONS = [name for name in LANGUAGES if name != "en"]


def strings(words: Words) -> dict[str, str]:
    """Every string of a language by its place: `HASHES`, `METRICS.cka.1`; doubts and reasons by their codes too."""

    def walk(place: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, str):
            yield place, value
        else:
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(f"{place}.{key}", item)

    names = [name for name in vars(words) if name.isupper()]
    return dict(pair for name in names for pair in walk(name, getattr(words, name)))


def placeholders(text: str) -> list[str]:
    """Names of what is filled in; `{}` counts as its number."""
    found = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    return sorted(name or str(i) for i, name in enumerate(found))


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_a_translation_has_every_string_with_its_placeholders(language: str) -> None:
    english, theirs = strings(EN), strings(LANGUAGES[language])
    assert list(theirs) == list(english)  # in the same order too, so that two files can be read side by side
    for place, text in theirs.items():
        assert text.strip(), place
        assert placeholders(text) == placeholders(english[place]), place


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_said_of_pictures_stands_for_what_is_said_of_classes(language: str) -> None:
    words = LANGUAGES[language]
    theirs, base = strings(of_pictures(words)), strings(words)
    assert {place for place in theirs if not place.startswith("FOR_PICTURES")} <= base.keys()
    changed = {place for place in base if not place.startswith("FOR_PICTURES") and theirs[place] != base[place]}
    assert {place.partition(".")[0] for place in changed} >= {"READS", "PARTS", "TIERS", "VERDICTS", "NO_RETRAINED"}
    for place in changed:
        assert placeholders(theirs[place]) == placeholders(base[place]), place
        assert "classes" not in theirs[place], place


def test_every_string_is_used() -> None:
    folder = Path(report.__file__).parent
    files_read = [*folder.iterdir(), folder / "words" / "__init__.py"]
    used = "".join(p.read_text(encoding="utf-8") for p in files_read if p.suffix in (".py", ".j2"))
    assert not [name for name in vars(EN) if name.isupper() and not re.search(rf"words\.{name}\b", used)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_short_names_fit_the_margin_of_a_figure(language: str) -> None:
    for name in LANGUAGES[language].PRIMARY.values():
        assert shorten(name, 13) == name


def test_chinese_claims_no_more_than_the_english() -> None:
    everything = "".join(strings(ZH).values())
    for claim in ("认证", "证明", "保证", "确保", "彻底", "完全删除"):
        assert claim not in everything


def test_an_unknown_language_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"one of the report's languages \(en, zh\), but got 'fr'"):
        speaking("fr")
    with pytest.raises(ConfigError, match="en, zh"):
        render(tmp_path, "fr")


# ---- the page -------------------------------------------------------------------------------------------------------


def unknown_audit() -> dict[str, Any]:
    """Nothing could be measured."""
    found = audit_json(CLASSES)
    for each in found["readings"]:
        each |= {"value": None, "interval": None, "series": None, "doubts": [asdict(no_samples("forget_test"))]}
    return found | {"tier": "E0", "verdict": {"status": "unknown", "why": [asdict(Doubt("no_forgotten_data"))]}}


def told_audit() -> dict[str, Any]:
    """The three readings that carry a sentence into a figure or a card."""
    found = audit_json(CLASSES, retrained=2)
    found["readings"] += [
        reading("prediction_tv", "unlearned", 0.2, part="forget_test", doubts=[asdict(Doubt("one_retrained"))]),
        reading("weight_distance", "unlearned", 4.5, "L2", series={f"layer{i}": 0.0 for i in range(7)}),
        reading("js_divergence", "unlearned", 0.2, "nats", interval=[0.1, 0.3]),
        reading("activation_distance", "unlearned", 0.2, "distance", interval=[0.1, 0.3]),
    ]
    for each in found["readings"]:
        if each["metric"] == "cost_ratio":
            each["value"] = 0.25
        if each["metric"] == "prediction_max_share":
            each["series"] = {"cat": 0.5, "dog": 0.499, "emu": 0.001}
        if each["metric"] == "membership_tpr_loss":
            each["series"] = None
    why = [asdict(Doubt("outside_band", {"readings": ["relearn_steps"]}))]
    return found | {"verdict": {"status": "fail", "why": why}}


ALIKE = Duplicates(exact=(), near=((1, 2),), looked_at=9).as_record()


def audit_of_pictures() -> dict[str, Any]:
    """An audit of single pictures, which the original hardly knows better than others."""
    found = audit_json(CLASSES, retrained=3)
    of_rows = {name for metric in METRICS.values() if metric.kinds >= ROWS for name in metric.readings}
    kept = [each for each in found["readings"] if each["part"] != "forget_test" and each["metric"] in of_rows]
    models = ("original", "unlearned", "retrained")
    kept += [reading("accuracy", model, 0.9, part="forget_train", series={"cat": 0.9}) for model in models]
    kept += [reading("return_recovery", model, 0.9, part="forget_train", series={"3e-3": 0.9}) for model in models]
    why = asdict(Doubt("rows_without_power", {"n": 9, "original": 0.9, "retrained": 0.89}))
    return found | {
        "readings": kept,
        "votes": ["accuracy/forget_train"],
        "verdict": {"status": "unknown", "why": [why]},
    }


def pair() -> dict[str, Any]:
    """A run of two weights files."""
    config = artefacts(CLASSES)["config.json"]
    for key in ("method", "settings", "needs", "notes"):
        del config[key]
    return config | {"kind": "audit", "unlearned": "/elsewhere/after.safetensors", "model": None}


def failed() -> dict[str, Any]:
    """A run whose search for rates found nothing."""
    search = {"accepted": False, "skipped": "no_retained_validation_samples", "attempts": [{"accuracy": 0.5}] * 2}
    doubt = {"code": "directions_doubtful", "values": {"cosine": 0.55, "least": 0.65}}
    return artefacts(CLASSES)["config.json"] | {
        "notes": {"search": search, "x": None, "no_samples_of": ["x"], "doubt": doubt},
        "overrides": ["a=1"],
    }


def counted() -> dict[str, Any]:
    """The cost of a run of which the operations of one stage were counted."""
    cost: dict[str, Any] = artefacts(CLASSES)["cost.json"]
    stages = cost["stages"] | {"repair": {"operations": 10**9}}
    return {"stages": stages, "total": cost["total"] | {"operations": 950}}


def counted_audit() -> dict[str, Any]:
    """Operations were counted, in the run and in a retraining."""
    found = audit_json(CLASSES, retrained=1)
    for each in found["readings"]:
        if each["metric"] == "cost_ratio":
            each |= {"series": {"samples": 4.0, "operations": 5.0}, "doubts": [asdict(Doubt("slowed_by_counting"))]}
    return found


def left_out(reason: str | dict[str, Any]) -> dict[str, Any]:
    figures = {key: {"missing": reason} for key in ("noise", "embedding", "attention")}
    return {"personal": True, "include_images": False, "figures": figures}


PAGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no audit": {"audit": None},
    "no retrained model": {"audit": audit_json(CLASSES, retrained=0)},
    "three": {"audit": audit_json(CLASSES, retrained=3)},
    "judged": {"audit": judged_audit()},
    "told": {"audit": told_audit()},
    "unknown": {"audit": unknown_audit()},
    "measured": {"audit": measured_audit(), "pictures": drawn()},
    "counted": {"cost": counted(), "audit": counted_audit()},
    "counted, no audit": {"cost": counted(), "audit": None},
    "of people": {"pictures": left_out("personal")},
    "without pictures": {"pictures": left_out(asdict(Doubt("no_test_samples")))},
    "pair": {"config": pair(), "cost": None, "history": None},
    "failed": {"config": failed(), "history": {"impair": [0.5] * 400, "repair": [0.25] * 4}},
    "empty": {
        "config": {"kind": "forget"},
        "request": {},
        "access": {},
        "cost": {},
        "audit": {"schema": 2},
        "history": {},
    },
    "pictures": {
        "audit": audit_of_pictures(),
        "request": {
            **{"forget": [], "already_forgotten": [], "classes": list(CLASSES)},
            **{"classes_of_rows": {"cat": 8, "dog": 1}, "subclasses": [], "duplicates": ALIKE},
        },
    },
    "many classes": {"request": {"forget": list("abcde"), "forget_ids": [0, 1, 2, 3, 4], "classes": list("abcdef")}},
}
# what is no English of the page's own
ALLOWED = {
    *("unlearnkit", "UNSIR", "unsir", "default", "paper", "digits", "small", "cnn", "sha256", "model", "safetensors"),
    *("FLOP", "GFLOP"),
    *("AUC", "CKA", "ZRF", "RMIA", "SVC", "Jensen", "Shannon", "Anamnesis", "L2", "CSV", "JSON", "UTC", "E0", "E3"),
    *("noise", "impair", "repair", "search", "steps", "lr", "retain_per_class", "epochs", "none"),  # fields, settings
    *("attempts", "accepted", "skipped", "accuracy", "no_samples_of", "forget_test", "x", "a"),
    *("doubt", "code", "directions_doubtful", "values", "cosine", "least"),
    *("stem", "body", "head", *CLASSES, *(f"layer{i}" for i in range(7)), *"abcdef"),  # of the user
    *("Grad", "CAM", "audit", "forget", "include", "images"),  # of options
    *("runs", "original", "elsewhere", "after", "retrained", "cpu", "fp32"),
    *("config", "request", "access", "cost", "history", "audit", "pictures", "manifest", "json"),
    *("python", "platform", "torch", "torchvision", "numpy", "safetensors"),
}


def english(rendered: str) -> set[str]:
    """Words in Latin letters that a reader of the page, or of what it reads aloud, meets outside of quotations."""
    shown = re.sub(r"<(style|script|pre|code)\b.*?</\1>", " ", rendered, flags=re.DOTALL)
    shown = re.sub(r'<span lang="en">.*?</span>', " ", shown, flags=re.DOTALL)
    spoken = re.findall(r'(?:aria-label|alt|placeholder|data-said)="([^"]*)"', shown)
    text = html.unescape(" ".join([*spoken, re.sub(r"<[^>]+>", " ", shown)]))
    for value in versions().values():
        text = text.replace(value, " ")
    text = re.sub(r"\d+-\d+-\d+T[\d:]+", " ", text)
    return {word for word in re.findall(r"[A-Za-z_][A-Za-z_0-9]*", text) if len(word) > 1 or word.isalpha()}


@pytest.mark.parametrize("name", PAGES)
def test_nothing_of_a_chinese_page_is_english(tmp_path: Path, name: str) -> None:
    rendered = page(tmp_path / "run", "zh", **PAGES[name])
    assert '<html lang="zh-Hans">' in rendered
    assert english(rendered) <= ALLOWED
    assert "None" not in Reader(rendered).text
    for mark in (", ", "; ", " (", "{", "}"):  # of English, and of what was not filled in
        assert not re.search(
            r"[\u4e00-\u9fff]" + re.escape(mark) + r"|" + re.escape(mark) + r"[\u4e00-\u9fff]", rendered
        )


def test_the_test_above_can_fail(tmp_path: Path) -> None:
    assert len(english(page(tmp_path / "run", "en")) - ALLOWED) > 100


def test_a_page_on_pictures_does_not_speak_of_forgotten_classes(tmp_path: Path) -> None:
    for language, said in (("en", "forgotten class"), ("zh", "遗忘类")):
        shown = Reader(page(tmp_path / language, language, **PAGES["pictures"])).text
        assert said not in shown
        assert {"en": "9 pictures of 2 classes", "zh": "2 个类别的 9 张图片"}[language] in shown
        assert {"en": "hardly any was learned by heart", "zh": "几乎没有哪张被死记下来"}[language] in shown
        assert not any(name in shown for name in ("What a linear probe finds", "线性探针在各层能找到什么"))


def test_names_of_the_user_stay_as_they_are(tmp_path: Path) -> None:
    rendered = page(tmp_path / "run", "zh", HOSTILE)
    reader = Reader(rendered)
    assert reader.open == []
    assert all(name.replace("\x00", "\ufffd").replace("\x1b", "\ufffd") in reader.text for name in HOSTILE)


@pytest.mark.slow
def test_the_files_of_a_page_are_the_same_in_every_language(tmp_path: Path) -> None:
    for changed in ({}, {"audit": judged_audit()}, {"audit": audit_json(CLASSES, retrained=3)}):
        assert files(page(tmp_path / "run", "zh", **changed)) == files(page(tmp_path / "run", "en", **changed))


def test_dates_and_quantities_are_written_as_the_language_does() -> None:
    assert made_at("2026-11-20T18:02:18+00:00", ZH) == "2026 年 11 月 20 日 18:02（UTC）"
    assert made_at("2026-11-20T18:02:18+00:00", EN) == "20 November 2026, 18:02 UTC"
    assert [seconds(v, ZH) for v in (0.0099, 3.396, 125, 7500)] == ["9.9 毫秒", "3.40 秒", "2 分 5 秒", "2 小时 5 分"]
    assert [quantity(v, "steps", ZH) for v in (1.0, 1256.0)] == ["1 步", "1,256 步"]
    assert quantity(None, "fraction", ZH) == "未知"
    assert quantity(0.5, "nats", ZH) == "0.500 奈特"
    assert quantity(0.5, "{weird}", ZH) == "0.500 {weird}"
    assert span((2.0, 3.0), "steps", ZH) == "2–3 步"
    assert points(-0.05, ZH) == "−5.0 个百分点"


# ---- doubts and reasons ---------------------------------------------------------------------------------------------


def sample(name: str) -> Any:
    """A value for a placeholder of `unlearnkit.audit.doubts`."""
    reason = Doubt("original_too_near")
    given: dict[str, Any] = {
        "reason": reason,
        "reasons": [Doubt("reading_unresolved", {"reading": "relearn_steps", "reason": reason})],
        "readings": ["accuracy/forget_test", "relearn_steps"],
        "share": 0.546,
        "nats": 0.01234,
    }
    return given.get(name, name if name in ("part", "first", "second", "stage", "layer", "reading", "text") else 7)


def written(doubt: Doubt) -> Said:
    """The doubt as the report reads it in a run folder."""
    return read_doubt(json.loads(json.dumps(asdict(doubt))), "audit.json")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_has_a_sentence_with_its_values(language: str) -> None:
    words = LANGUAGES[language]
    assert tuple(words.SENTENCES) == CODES
    for code in CODES:
        assert placeholders(words.SENTENCES[code]) == sorted(PLACEHOLDERS.get(code, ())), code
        said = written(Doubt(code, {name: sample(name) for name in PLACEHOLDERS.get(code, ())}))
        text = plain(said, words)
        assert not set("{}") & set(text), code
        assert text != code.replace("_", " "), code
        assert html.unescape(re.sub("<[^>]+>", "", marked(said, words))) == text
        assert ("<span" in marked(said, words)) == (code == "remark" and words is not EN)


def test_a_reading_without_power_says_how_many_models_would_settle_it() -> None:
    for words in LANGUAGES.values():
        assert f" {MOST_ASKED} " in words.SENTENCES["original_too_near"]
    two = written(Doubt("more_retrained_settle", {"more": 2}))
    assert "2 more retrained models would settle this" in plain(two, EN)
    assert "再加 2 个" in plain(two, ZH)


def test_the_registry_of_codes_is_whole() -> None:
    assert len(set(CODES)) == len(CODES)
    assert set(PLACEHOLDERS) <= set(CODES)
    with pytest.raises(ValueError, match=r"got 'small_sample' with \[\]; its values are \['n'\]"):
        Doubt("small_sample")
    with pytest.raises(ValueError, match="got 'nonsense'"):
        Doubt("nonsense")  # type: ignore[arg-type]


NEAR = Doubt("original_too_near")
SAID = [
    (Doubt("small_sample", {"n": 36}), "small sample: 36", "样本少：36 个"),
    (
        unknown("no_samples_in_both", {"first": "retain_test", "second": "forget_test"}),
        "unknown: retain_test and forget_test have no samples",
        "未知：retain_test 和 forget_test 没有样本",
    ),
    (
        Doubt("partial_part", {"part": "forget_train", "n": 10, "whole": 2000}),
        "forget_train: measured on 10 of 2000 samples",
        "forget_train：仅测量了 2000 个样本中的 10 个",
    ),
    (
        Doubt("unresolved", {"reason": Doubt("few_retrained", {"needed": 3, "given": 1})}),
        "not resolved: it needs 3 retrained models, and 1 came",
        "未能判定：需要 3 个重新训练的模型，只提供了 1 个",
    ),
    (
        Doubt("weak_attack", {"share": 0.546}),
        "weak attack: it is right on 55% of retained samples",
        "攻击太弱：只在 55% 的保留样本上正确",
    ),
    (
        unknown("stage_stopped", {"stage": "relearn unlearned", "loss": "nan", "step": 3}),
        "unknown: The loss of stage 'relearn unlearned' became nan at step 3; it was stopped. Lower the learning "
        "rate of that stage.",
        "未知：阶段“relearn unlearned”的损失在第 3 步变为 nan，已停止；请降低该阶段的学习率",
    ),
    (
        Doubt(
            "outputs_and_membership_unresolved",
            {
                "reasons": [
                    Doubt("reading_unresolved", {"reading": "membership_auc_loss", "reason": NEAR}),
                    Doubt("reading_unresolved", {"reading": "class_membership_auc", "reason": Doubt("not_measured")}),
                ]
            },
        ),
        "outputs and membership not resolved (membership_auc_loss: the original is too near to the retrained models to "
        "tell them apart, and even 20 of them would not settle this; class_membership_auc: it could not be measured)",
        "输出与成员推断均未能判定（membership_auc_loss：原模型离重新训练的模型太近，即使有 20 个重新训练的模型，"
        "也无法用这项指标把它们区分开；class_membership_auc：无法测量）",
    ),
    (
        Doubt("outside_band", {"readings": ["relearn_steps", "membership_auc_loss"]}),
        "outside the band of the retrained models: relearn_steps, membership_auc_loss",
        "超出重新训练模型的容许范围：relearn_steps、membership_auc_loss",
    ),
]


@pytest.mark.parametrize(("doubt", "english", "chinese"), SAID, ids=lambda given: getattr(given, "code", ""))
def test_doubts_are_said_with_what_stands_in_them(doubt: Doubt, english: str, chinese: str) -> None:
    assert plain(written(doubt), EN) == english
    assert plain(written(doubt), ZH) == chinese


def test_several_reasons_are_one_sentence() -> None:
    reasons = [
        Doubt("inside_band"),
        Doubt("readings_unresolved", {"readings": ["a", "b"]}),
        Doubt("judged_on_stand_ins"),
    ]
    assert told([written(each) for each in reasons], EN) == (
        "inside the band of the retrained models; not resolved: a, b; judged on stand-ins, not on the forgotten data"
    )


def test_what_is_english_in_every_language_is_marked_and_escaped() -> None:
    said = written(unknown("remark", {"text": "one <b>new</b> \x00doubt"}))
    english = "one &lt;b&gt;new&lt;/b&gt; \ufffddoubt"
    assert marked(said, ZH) == Markup(f'未知：<span lang="en">{english}</span>')
    assert marked(said, EN) == Markup(f"unknown: {english}")
    assert filled("<{} {}>", marked(said, EN), "<i>") == f"&lt;unknown: {english} &lt;i&gt;&gt;"


@pytest.mark.parametrize("values", [{}, {"n": "<b>"}, {"n": [1]}])
def test_a_code_that_the_language_does_not_know_is_shown_as_it_is(values: dict[str, Any]) -> None:
    new = read_doubt({"code": "doubt_of_tomorrow", "values": values}, "audit.json")
    assert plain(new, ZH).startswith("doubt of tomorrow")
    assert "<b>" not in marked(new, ZH)
    assert marked(new, ZH).startswith('<span lang="en">doubt of tomorrow')
    assert marked(new, EN).startswith("doubt of tomorrow")


def test_a_code_without_its_values_is_shown_as_it_is() -> None:
    assert plain(Said("small_sample", {}), ZH) == "small sample"
    assert plain(Said("weak_attack", {"share": "much"}), EN) == "weak attack (share much)"


def test_an_untranslated_doubt_is_marked_on_the_page(tmp_path: Path) -> None:
    doubted = audit_json(CLASSES)
    for each in doubted["readings"]:
        each |= {"doubts": [{"code": "a_doubt_of_tomorrow", "values": {}}], "series": None}
    rendered = page(tmp_path / "run", "zh", audit=doubted)
    assert '<span class="doubt"><span lang="en">a doubt of tomorrow</span></span>' in rendered
    assert '<p class="doubt"><span lang="en">a doubt of tomorrow</span></p>' in rendered
    assert 'lang="en"' not in page(tmp_path / "run", "en", audit=doubted).replace('<html lang="en">', "")


# ---- readings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reading_of_the_registry_has_a_title(language: str) -> None:
    readings = {name for metric in METRICS.values() for name in metric.readings}
    assert set(LANGUAGES[language].METRICS) == readings
    votes = {vote.metric for metric in METRICS.values() for vote in metric.votes}
    assert votes <= readings
