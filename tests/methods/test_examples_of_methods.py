"""The example of every method's card runs, and gives what the card says that it gives."""

from __future__ import annotations

import doctest
import inspect

import pytest

from unlearnkit.methods.cards import method_cards
from unlearnkit.methods.registry import CONDITIONAL, METHODS

LINES = 5


def example_of(name: str) -> doctest.DocTest:
    module = inspect.getmodule((METHODS | CONDITIONAL)[name])
    assert module is not None
    return doctest.DocTestParser().get_doctest(module.__doc__ or "", {}, f"card of {name}", module.__file__, 0)


@pytest.mark.parametrize("name", [*METHODS, *CONDITIONAL])
def test_the_example_of_a_card_runs(name: str) -> None:
    example, said = example_of(name), list[str]()
    assert 1 <= len(example.examples) <= LINES, f"a card needs an example of up to {LINES} lines after `Example: `"
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append).failed == 0, "".join(said)


def test_a_card_shows_its_example_as_code() -> None:
    page = method_cards(["neggrad"])
    assert "**Example.** " in page
    assert "\n```python\n>>> import unlearnkit as uk\n" in page
    assert page.count("```") == 2
