"""Every language says the same things: the same names, keys and placeholders, and no English left in a translation."""

from __future__ import annotations

import ast
import html
import re
import string
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from markupsafe import Markup

from report_folders import ANIMALS as CLASSES
from report_folders import HOSTILE, artefacts, audit_json, drawn, judged_audit, measured_audit, page, reading
from report_pages import Reader, files
from unlearnkit import audit, report
from unlearnkit.cli.options import Language
from unlearnkit.errors import ConfigError
from unlearnkit.report import render
from unlearnkit.report.sentences import filled, marked, plain, translated
from unlearnkit.report.text import made_at, points, quantity, seconds, shorten, span
from unlearnkit.report.words import CHINESE as ZH
from unlearnkit.report.words import ENGLISH as EN
from unlearnkit.report.words import LANGUAGES, Words, speaking
from unlearnkit.run_dir import versions

TRANSLATIONS = [name for name in LANGUAGES if name != "en"]


def strings(words: Words) -> dict[str, str]:
    """Every string of a language by its place: `HASHES`, `METRICS.cka.1`; not the sentences, whose keys are English."""

    def walk(place: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, str):
            yield place, value
        else:
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                yield from walk(f"{place}.{key}", item)

    names = [name for name in vars(words) if name.isupper() and name != "SENTENCES"]
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
    for pattern, text in LANGUAGES[language].SENTENCES.items():
        assert text.strip(), pattern
        assert placeholders(text) == placeholders(pattern), pattern


def test_every_string_is_used() -> None:
    folder = Path(report.__file__).parent
    used = "".join(p.read_text(encoding="utf-8") for p in folder.iterdir() if p.suffix in (".py", ".j2"))
    assert not [name for name in vars(EN) if name.isupper() and not re.search(rf"words\.{name}\b", used)]


def test_the_option_knows_the_languages() -> None:
    (choices, *_) = get_args(get_args(Language)[0])
    assert get_args(choices) == tuple(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_short_names_fit_the_margin_of_a_figure(language: str) -> None:
    for name in LANGUAGES[language].PRIMARY.values():
        assert shorten(name, 13) == name


def test_chinese_claims_no_more_than_the_english() -> None:
    everything = "".join([*strings(ZH).values(), *ZH.SENTENCES.values()])
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
        each |= {"value": None, "interval": None, "series": None, "doubts": ["unknown: forget_test has no samples"]}
    return found | {"tier": "E0", "verdict": {"status": "unknown", "why": "there is no data of the forgotten classes"}}


def told_audit() -> dict[str, Any]:
    """The three readings that carry a sentence into a figure or a card."""
    found = audit_json(CLASSES, retrained=2)
    found["readings"] += [
        reading("prediction_tv", "unlearned", 0.2, part="forget_test", doubts=["one retrained model"]),
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
    return found | {"verdict": {"status": "fail", "why": "outside the band of the retrained models: relearn_steps"}}


def pair() -> dict[str, Any]:
    """A run of two weights files."""
    config = artefacts(CLASSES)["config.json"]
    for key in ("method", "settings", "needs", "notes"):
        del config[key]
    return config | {"kind": "audit", "unlearned": "/elsewhere/after.safetensors", "model": None}


def failed() -> dict[str, Any]:
    """A run whose search for rates found nothing."""
    search = {"accepted": False, "skipped": "no retained validation samples", "attempts": [{"accuracy": 0.5}] * 2}
    return artefacts(CLASSES)["config.json"] | {
        "notes": {"search": search, "x": None, "no_samples_of": ["x"]},
        "overrides": ["a=1"],
    }


def left_out(reason: str) -> dict[str, Any]:
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
    "of people": {"pictures": left_out("personal")},
    "without pictures": {"pictures": left_out("there are no test samples")},
    "pair": {"config": pair(), "cost": None, "history": None},
    "failed": {"config": failed(), "history": {"impair": [0.5] * 400, "repair": [0.25] * 4}},
    "empty": {"config": {"kind": "forget"}, "request": {}, "access": {}, "cost": {}, "audit": {}, "history": {}},
    "many classes": {"request": {"forget": list("abcde"), "forget_ids": [0, 1, 2, 3, 4], "classes": list("abcdef")}},
}
# what is no English of the page's own
ALLOWED = {
    *("unlearnkit", "UNSIR", "unsir", "default", "paper", "digits", "small", "cnn", "sha256", "model", "safetensors"),
    *("AUC", "CKA", "ZRF", "RMIA", "SVC", "Jensen", "Shannon", "Anamnesis", "L2", "CSV", "JSON", "UTC", "E0", "E3"),
    *("noise", "impair", "repair", "search", "steps", "lr", "retain_per_class", "epochs", "none"),  # fields, settings
    *("attempts", "accepted", "skipped", "accuracy", "no_samples_of", "forget_test", "relearn_steps", "x", "a"),
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


def test_names_of_the_user_stay_as_they_are(tmp_path: Path) -> None:
    rendered = page(tmp_path / "run", "zh", HOSTILE)
    reader = Reader(rendered)
    assert reader.open == []
    assert all(name.replace("\x00", "\ufffd").replace("\x1b", "\ufffd") in reader.text for name in HOSTILE)


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


# ---- sentences of the audit -----------------------------------------------------------------------------------------

VALUES = (
    "7",
    "forget_test",
    "no features were taken",
    "representation",
    "outputs and membership",
    "the original model",
    "original",
)
NO_DOUBT = {  # what the audit's code says besides doubts and reasons
    *(
        "audit metrics",
        "audit {}",
        "shadow {}",
        "relearn {}",
        "{} shots {}",
        "fine-tune {}",
    ),  # stages, for the progress
    *("one is named {}", "got {}", "the audit"),  # of an error's message
    "; not resolved: {}",  # the end of a sentence below
}


def sentences(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Strings of a source file with a space in them, values as `{}`, each with samples of what it may come out as.

    Left out are docstrings and what is raised.
    """

    def walk(node: ast.AST) -> Iterator[tuple[str, list[str]]]:
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _said(node.value):
            yield node.value, [node.value]
        if isinstance(node, ast.JoinedStr):
            pieces = [str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values]
            held = [v.value for v in node.values if isinstance(v, ast.FormattedValue)]
            template = "".join(pieces)
            if _said(template):
                yield template, [template.format(*some) for some in product(*map(samples, held))]
            for each in held:
                yield from walk(each)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    def samples(value: ast.expr) -> tuple[str, ...]:
        if isinstance(value, ast.IfExp):
            ends = [end.value for end in (value.body, value.orelse) if isinstance(end, ast.Constant)]
            return tuple(str(end) for end in ends) or VALUES
        return VALUES

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def _said(text: str) -> bool:
    return bool(re.search("[a-z]", text.replace("{}", ""))) and " " in text.strip()


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_every_sentence_of_the_audit_is_translated(language: str) -> None:
    said = [each for path in sorted(Path(audit.__file__).parent.rglob("*.py")) for each in sentences(path)]
    assert {template for template, _ in said} >= NO_DOUBT
    missing = [
        template
        for template, samples in said
        if template not in NO_DOUBT and not any(translated(sample, LANGUAGES[language]) for sample in samples)
    ]
    assert not missing
    assert len(said) > 50


@pytest.mark.parametrize("language", TRANSLATIONS)
@pytest.mark.parametrize(
    ("said", "chinese"),
    [
        ("no retained validation samples", "没有保留类的验证样本"),
        ("small sample: 36", "样本少：36 个"),
        ("unknown: retain_test and forget_test have no samples", "未知：retain_test 和 forget_test 没有样本"),
        ("forget_train: measured on 10 of 2,000 samples", "forget_train：仅测量了 2,000 个样本中的 10 个"),
        ("not resolved: it needs 3 retrained models, and 1 came", "未能判定：需要 3 个重新训练的模型，只提供了 1 个"),
        (
            "representation not resolved (probe_recovery/forget_test: it could not be measured); outputs and membership"
            " not resolved (membership_auc_loss: the original is not measured; class_membership_auc: it could not be"
            " measured); judged on stand-ins, not on the forgotten data",
            "表征未能判定（probe_recovery/forget_test：无法测量）；输出与成员推断均未能判定（membership_auc_loss：没有测量原模型；"
            "class_membership_auc：无法测量）；依据替代样本判定，而不是依据遗忘类数据",
        ),
        (
            "inside the band of the retrained models; not resolved: relearn_steps, membership_auc_loss; judged on "
            "stand-ins, not on the forgotten data",
            "在重新训练模型的容许范围内；未能判定：relearn_steps, membership_auc_loss；"
            "依据替代样本判定，而不是依据遗忘类数据",
        ),
        (
            "unknown: The loss of stage 'relearn unlearned' became nan at step 3; it was stopped. Lower the learning "
            "rate of that stage.",
            "未知：阶段“relearn unlearned”的损失在第 3 步变为 nan，已停止；请降低该阶段的学习率",
        ),
    ],
)
def test_sentences_are_translated_with_what_stands_in_them(language: str, said: str, chinese: str) -> None:
    found = translated(said, LANGUAGES[language])
    assert found is not None
    if language == "zh":
        assert found == chinese
    assert translated(said, EN) == said


def test_a_sentence_without_a_translation_is_marked_as_english() -> None:
    assert marked("one <b>new</b> doubt", ZH) == Markup('<span lang="en">one &lt;b&gt;new&lt;/b&gt; doubt</span>')
    assert marked("one <b>new</b> doubt", EN) == Markup("one &lt;b&gt;new&lt;/b&gt; doubt")
    assert plain("one <b>new</b> doubt", ZH) == "one <b>new</b> doubt"
    half = "unknown: no features were taken; one new doubt"  # half a translation would be neither
    assert marked(half, ZH) == Markup(f'<span lang="en">{half}</span>')
    assert filled("<{} {}>", marked("a\x00", ZH), "<i>") == '&lt;<span lang="en">a\ufffd</span> &lt;i&gt;&gt;'


def test_an_untranslated_doubt_is_marked_on_the_page(tmp_path: Path) -> None:
    doubted = audit_json(CLASSES)
    for each in doubted["readings"]:
        each |= {"doubts": ["a doubt of tomorrow"], "series": None}
    rendered = page(tmp_path / "run", "zh", audit=doubted)
    assert '<span class="doubt"><span lang="en">a doubt of tomorrow</span></span>' in rendered
    assert '<p class="doubt"><span lang="en">a doubt of tomorrow</span></p>' in rendered
    assert 'lang="en"' not in page(tmp_path / "run", "en", audit=doubted).replace('<html lang="en">', "")
