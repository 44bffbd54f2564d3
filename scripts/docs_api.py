"""The pages of the API reference, made from the package's tree: the code is read, not run.

Each page is Markdown with one `::: name` for what mkdocstrings puts in. What is listed comes from the code itself, so
that a module may move, and a name be added, without a change here.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import griffe

from docs_links import anchor

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = "unlearnkit"
PUBLIC = (PACKAGE, f"{PACKAGE}.audit")  # what they list in `__all__` is public
# What those who add a method or a metric write, or are handed. Each is found by its name, wherever it is defined.
CONTRACTS = {
    "A method": ("Method", "ConfiguredMethod", "Context", "DataView", "Unlearned"),
    "A metric": ("Metric", "Evidence", "Subject", "Outputs", "Reading"),
    "A data source": ("Source",),
    "The audit's result": ("Audit", "Verdict"),
}


@cache
def api_pages() -> dict[str, str]:
    """The pages by their place in the site, in the order of the navigation.

    Raises:
        LookupError: a contract is not defined in the package, or in two places.
        KeyError: a public name leads nowhere.
    """
    tree = griffe.load(PACKAGE, search_paths=[SOURCE])
    assert isinstance(tree, griffe.Module)
    public = {package: _public(tree, package) for package in PUBLIC}
    contracts = {title: [_defined(tree, name) for name in names] for title, names in CONTRACTS.items()}
    # where each definition is described: once, though several packages may export it
    homes = {found.path: (found.path, "contracts.md") for group in contracts.values() for found in group}
    homes |= {found.path: (found.path, "errors.md") for found in tree["errors"].classes.values()}
    names_of_modules = {module.path for module in _modules(tree)}
    for package, names in public.items():
        for name, found in names.items():
            shown = found.path if f"{package}.{name}" in names_of_modules else f"{package}.{name}"
            homes.setdefault(found.path, (shown, f"{package}.md"))
    return {
        "api/README.md": _overview(tree, public, homes),
        **{f"api/{package}.md": _package_page(tree, package, public[package], homes) for package in PUBLIC},
        "api/contracts.md": _contracts_page(contracts),
        "api/errors.md": f"# Errors\n\n{_text(tree['errors'])}\n\n" + _blocks(tree["errors"].classes.values(), level=2),
        "api/modules.md": _modules_page(tree),
    }


def _public(tree: griffe.Module, package: str) -> dict[str, griffe.Object]:
    """What a package lists in `__all__`, each name with its definition."""
    module = tree if package == PACKAGE else tree[package.removeprefix(f"{PACKAGE}.")]
    found = {}
    for name in sorted(map(str, module.exports or ()), key=str.lower):
        # a module may have the name of the function in it, as `audit/gather.py`: then the import tells what is meant
        member = tree[module.imports[name].removeprefix(f"{PACKAGE}.")] if name in module.imports else module[name]
        found[name] = member.final_target if member.is_alias else member
    return found


def _defined(tree: griffe.Module, name: str) -> griffe.Object:
    """The one class of this name that the package defines."""
    found = [module.classes[name] for module in _modules(tree) if _is_defined(module, name)]
    if len(found) != 1:
        raise LookupError(
            f"Expected one class {name!r} in {PACKAGE}, but found {[each.path for each in found]}; "
            "the list of contracts is in scripts/docs_api.py."
        )
    return found[0]


def _is_defined(module: griffe.Module, name: str) -> bool:
    member = module.members.get(name)
    return member is not None and not member.is_alias and member.is_class


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    """A module and all that are in it, by name."""
    yield module
    for _, inner in sorted(module.modules.items()):
        if not inner.is_alias:
            yield from _modules(inner)


def _overview(
    tree: griffe.Module, public: dict[str, dict[str, griffe.Object]], homes: dict[str, tuple[str, str]]
) -> str:
    lines = ["# API reference", "", _text(tree)]
    for package, names in public.items():
        lines += ["", f"## [{package}]({package}.md)", "", "| name | |", "| --- | --- |"]
        for name, found in names.items():
            place, page = homes[found.path]
            lines.append(f"| [`{name}`]({page}#{place}) | {_first_line(found)} |")
    lines += [
        "",
        "## Beside them",
        "",
        "- [Contracts](contracts.md): what a new method, metric or data source fulfils, and what it is handed.",
        "- [Errors](errors.md): every error that is raised on purpose.",
        "- [Modules](modules.md): what each file of the package holds.",
    ]
    return "\n".join(lines) + "\n"


def _package_page(
    tree: griffe.Module, package: str, names: dict[str, griffe.Object], homes: dict[str, tuple[str, str]]
) -> str:
    cards = _cards(tree)
    groups: dict[str, list[str]] = {"Functions": [], "Methods": [], "Classes": [], "Constants": [], "Elsewhere": []}
    for name, found in names.items():
        place, page = homes[found.path]
        mark = f"{{#{package}.{name}}}"  # links to the public name work wherever the definition stands
        if page != f"{package}.md":
            groups["Elsewhere"].append(f"- [`{name}`]({page}#{place}){mark}: {_first_line(found)}")
            continue
        block = f"::: {place}\n" if place == f"{package}.{name}" else f"[](){mark}\n\n::: {place}\n"
        if found.path in cards:
            groups["Methods"].append(f"{block}\n[Its card](../methods.md#{cards[found.path]})\n")
        else:
            groups["Functions" if found.is_function else "Classes" if found.is_class else "Constants"].append(block)
    parts = [f"## {title}\n\n" + "\n".join(entries) for title, entries in groups.items() if entries]
    return f"# {package}\n\n" + "\n".join(parts)


def _cards(tree: griffe.Module) -> dict[str, str]:
    """The anchor in docs/methods.md of the card of each class in `METHODS`."""
    methods = tree["METHODS"]
    methods = methods.final_target if methods.is_alias else methods
    anchors: dict[str, str] = {}
    seen = Counter[str]()
    listed = ast.parse(str(methods.value), mode="eval").body
    assert isinstance(listed, ast.Call), f"expected METHODS to be made of the methods' classes, but got {methods.value}"
    for argument in listed.args:
        assert isinstance(argument, ast.Name), f"expected the name of a class, but got {ast.unparse(argument)}"
        found = methods.parent[argument.id]
        found = found.final_target if found.is_alias else found
        heading = anchor(ast.literal_eval(str(found["name"].value)))
        anchors[found.path] = f"{heading}_{seen[heading]}" if seen[heading] else heading  # as Markdown counts them
        seen[heading] += 1
    return anchors


def _contracts_page(contracts: dict[str, list[griffe.Object]]) -> str:
    parts = [f"## {title}\n\n{_blocks(found, level=3)}" for title, found in contracts.items()]
    return (
        "# Contracts\n\nWhat a new method, metric or data source fulfils, and what it is handed. "
        "[Contributing](../contributing.md) says what each kind of addition touches.\n\n" + "\n".join(parts)
    )


def _blocks(found: list[griffe.Object], *, level: int) -> str:
    return "\n".join(f"::: {each.path}\n    options:\n      heading_level: {level}\n" for each in found)


def _modules_page(tree: griffe.Module) -> str:
    """One table for each package directly in the tree, behind one for the modules beside them."""
    inner = sorted((module for module in tree.modules.values() if not module.is_alias), key=lambda module: module.name)
    packages = [module for module in inner if module.is_init_module]
    rooms = [(tree.path, [module for module in inner if not module.is_init_module])]
    rooms += [(package.path, list(_modules(package))) for package in packages]
    lines = ["# Modules", "", "Every file of the package, and the first line of its text."]
    for title, modules in rooms:
        lines += ["", f"## {title}", "", "| module | |", "| --- | --- |"]
        lines += [f"| `{module.path}` | {_first_line(module)} |" for module in modules]
    return "\n".join(lines) + "\n"


def _text(found: griffe.Object) -> str:
    return found.docstring.value if found.docstring else ""


def _first_line(found: griffe.Object) -> str:
    return _text(found).partition("\n")[0].replace("|", "\\|")
