"""The README of a run folder: it loads the weights without unlearnkit, and a stranger's words stay words."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from markdown_it import MarkdownIt

import forked
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import checkpoint_bytes
from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.readme import readme

CARD = ModelCard(
    model="timm:test_vit,img_size=32",
    classes=("ant", "bee", "cat"),
    forgotten=("bee",),
    shape=(3, 32, 32),
    preprocessing=Preprocessing(
        size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), crop=0.875, interpolation="bicubic", channels=3
    ),
)


def snippet(text: str) -> str:
    """The code of the README."""
    (code,) = re.findall(r"^(`{3,})python\n(.*?)^\1$", text, flags=re.MULTILINE | re.DOTALL)
    return code[1]


def front_matter(text: str) -> dict[str, object]:
    _, head, _ = text.split("---\n", 2)
    found: dict[str, object] = yaml.safe_load(head)
    return found


FACTORY = """
import torch
def make(num_classes, width):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, width), torch.nn.Linear(width, num_classes))
"""
BLOCK = "import sys\nsys.modules |= {name: None for name in sys.modules if name.partition('.')[0] == 'unlearnkit'}\n"
BLOCK += "sys.modules['unlearnkit'] = None\n"  # from here on, importing it fails


@pytest.mark.slow
@pytest.mark.xdist_group(forked.GROUP)
def test_the_weights_load_without_unlearnkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "factory_of_the_readme.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    images = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    names = ("timm:test_vit,img_size=32,act_layer=gelu", "torchvision:squeezenet1_1,dropout=0.1")
    names += ("factory_of_the_readme:make,width=5",)
    steps, wanted = [BLOCK], []
    for i, name in enumerate(names):
        model = build_model(name, num_classes=3, in_channels=3).eval()
        card = replace(CARD, model=name)
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(checkpoint_bytes(model, card))
        text = readme(card, kind="forget", method="unsir", seed=0)
        (folder / "README.md").write_text(text)
        with torch.no_grad():
            wanted.append(model(images))
        steps.append(
            f"import os, torch\nos.chdir({str(folder)!r})\n{snippet(text)}\n"
            "images = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))\n"
            "with torch.no_grad():\n    torch.save(model(images), 'logits.pt')\n"
        )
    program = tmp_path / "program.py"
    program.write_text("\n".join(steps))
    done = forked.run(program, path=[tmp_path])
    assert done.returncode == 0, done.stderr
    for i, logits in enumerate(wanted):
        torch.testing.assert_close(torch.load(tmp_path / str(i) / "logits.pt", weights_only=True), logits)


def test_a_built_in_architecture_is_said_to_be_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = replace(CARD, model="small-cnn,width=8")
    text = readme(card, kind="train", seed=0)
    assert "The architecture is part of unlearnkit" in text
    model = build_model(card.model, num_classes=3, in_channels=3)
    (tmp_path / "model.safetensors").write_bytes(checkpoint_bytes(model, card))
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(snippet(text), scope)
    loaded = scope["model"]
    assert isinstance(loaded, torch.nn.Module)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_the_front_matter_names_library_and_tags_and_no_licence() -> None:
    for model, library in (("timm:test_vit", "timm"), ("torchvision:resnet18", "pytorch"), ("small-cnn", "pytorch")):
        found = front_matter(readme(replace(CARD, model=model), kind="train", seed=0))
        assert found == {
            "library_name": library,
            "pipeline_tag": "image-classification",
            "tags": ["machine-unlearning", "image-classification", "unlearnkit"],
        }


def test_the_facts_are_there() -> None:
    text = readme(CARD, kind="forget", method="unsir", seed=7, accuracy=0.9812)
    for fact in (
        "| Architecture | `timm:test_vit,img_size=32` |",
        "| Classes, in the order of the outputs | ant, bee, cat |",
        "| Classes forgotten | bee |",
        "| Made by | unlearning (`unsir`) |",
        "| Seed | 7 |",
        "| Accuracy on held-out retained images | 98.1% |",
        "no formal guarantee of deletion",
        "3 x 32 x 32",
        "(bicubic)",
        "the centre of 32 x 32 is 87.5% of the shorter side",
        "mean [0.5, 0.4, 0.3], std [0.2, 0.2, 0.2]",
    ):
        assert fact in text, fact
    trained = readme(replace(CARD, forgotten=(), preprocessing=Preprocessing()), kind="train", seed=0)
    assert "| Classes left out of the training | none |" in trained
    assert "| Accuracy on held-out retained images | not measured |" in trained
    assert "as they are" in trained


HOSTILE = (
    "a|b",
    "[x](javascript:alert(1))",
    "<script>alert(1)</script>",
    "---\nlicense: mit\n---",
    "# heading",
    "``` `code` ```",
    "https://evil.example www.evil.example",
    "*bold* _it_ ~~no~~ ![i](x)",
    "\u202egnp.exe",
    "&lt;b&gt;",
    "back\\slash",
    "{{ x }}",
    "\n",
    "été",
)


def test_class_names_of_a_stranger_stay_text() -> None:
    card = replace(CARD, classes=HOSTILE, forgotten=HOSTILE)
    text = readme(card, kind="forget", method="x|`y`\n# z", seed=0)
    assert set(front_matter(text)) == {"library_name", "pipeline_tag", "tags"}
    body = text.split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark").enable("table").parse(body)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings == ["Image classifier after unlearning", "What it does not say", "Images", "Loading"]
    assert sum(token.type == "tr_open" for token in tokens) == 7  # the head and six facts
    inline = {child.type for token in tokens for child in token.children or ()}
    assert inline <= {"text", "text_special", "code_inline", "softbreak"}
    assert not any(token.type == "html_block" for token in tokens)
    (cell,) = [t for t in tokens if t.type == "inline" and "javascript" in t.content][:1]
    shown = "".join(child.content for child in cell.children or ())
    for name in HOSTILE[:3] + HOSTILE[4:8] + HOSTILE[9:12] + HOSTILE[13:]:
        assert name in shown, name
    assert not re.search(r"(?<!\\)https?:|www\.", cell.content)
    assert "\u202e" not in text


def test_a_name_cannot_end_the_code() -> None:
    card = replace(CARD, model="timm:test_vit,act_layer='```\\n# heading'")
    text = readme(card, kind="train", seed=0)
    tokens = MarkdownIt("commonmark").enable("table").parse(text.split("---\n", 2)[2])
    assert sum(token.type == "heading_open" for token in tokens) == 4
    assert sum(token.type == "fence" for token in tokens) == 1
    compile(snippet(text), "snippet", "exec")


def test_a_long_class_list_is_cut() -> None:
    card = replace(CARD, classes=tuple(f"c{i}" for i in range(1000)), forgotten=())
    text = readme(card, kind="train", seed=0)
    assert "c199 and 800 more" in text
    assert "num_classes=1000" in text
