"""Show the settings of methods in the API reference as what they are: a name, a type, a default, and what it means.

A setting is written `lr: float = Field(default=0.1, gt=0, description="learning rate")`. Without this extension of
mkdocstrings' reader the reference would show that call in place of the default, no description, and `(**values)` as
the signature of every method.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import griffe

BASE = "Config"  # the class that all settings and methods derive from


class Settings(griffe.Extension):
    """Take default and description of a setting out of pydantic's `Field(...)`, and make signatures of the settings."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:  # noqa: ARG002
        """Replace the value by the default, and give the attribute its description as docstring."""
        call = attr.value
        if not (isinstance(call, griffe.ExprCall) and call.canonical_path.split(".")[-1] == "Field"):
            return
        given = {each.name: each.value for each in call.arguments if isinstance(each, griffe.ExprKeyword)}
        attr.value = given.get("default", given.get("default_factory"))
        if attr.docstring is None and "description" in given:
            description = str(ast.literal_eval(str(given["description"])))
            attr.docstring = griffe.Docstring(description[:1].upper() + description[1:], parent=attr)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:  # noqa: ARG002
        """Give every class of settings the keyword-only signature that pydantic gives it at run time."""
        for found in list(_classes(pkg)):
            family = [found, *found.mro()]
            if found.name == BASE or BASE not in {each.name for each in family}:
                continue
            settings: dict[str, griffe.Attribute] = {}
            for each in reversed(family):
                settings |= {name: attr for name, attr in each.attributes.items() if _is_setting(attr)}
            for attr in settings.values():
                attr.labels.clear()
            keywords = [
                griffe.Parameter(name, annotation=a.annotation, default=a.value, kind=griffe.ParameterKind.keyword_only)
                for name, a in settings.items()
            ]
            made = griffe.Function("__init__", parameters=griffe.Parameters(griffe.Parameter("self"), *keywords))
            found.set_member("__init__", made)


def _classes(module: griffe.Module) -> Iterator[griffe.Class]:
    yield from (each for each in module.classes.values() if not each.is_alias)
    for inner in module.modules.values():
        if not inner.is_alias:
            yield from _classes(inner)


def _is_setting(attr: griffe.Attribute) -> bool:
    """Whether it is annotated and no `ClassVar`."""
    return (
        not attr.is_alias and attr.annotation is not None and (not attr.labels or "instance-attribute" in attr.labels)
    )
