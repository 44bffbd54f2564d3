"""Renders a run folder as a report: one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from unlearnkit.report import bands, changes, effort, histograms, pictures, provenance, recovery, summary
from unlearnkit.report.facts import Run, load
from unlearnkit.report.panel import Panel
from unlearnkit.report.sentences import filled
from unlearnkit.report.svg import swatch
from unlearnkit.report.text import clean, short_hash
from unlearnkit.report.words import speaking

__all__ = ["render"]


def render(folder: Path, language: str = "en") -> str:
    """Return the page, which is made from the run folder's files alone.

    Args:
        folder: the run folder.
        language: one of `words.LANGUAGES`.

    Raises:
        ConfigError: there is no such language.
        OutputError: the folder is no run of `forget` or `audit`, or a file in it is missing or damaged.
    """
    run = load(folder, speaking(language))
    words = run.words  # which are others where the request is for pictures
    script = resources.files(__package__).joinpath("page.js").read_text(encoding="utf-8")
    return _template().render(
        run=run,
        headline=summary.headline(run),
        asked=summary.asked(run),
        verdict=summary.verdict(run),
        open=bands.unresolved(run),
        cards=summary.cards(run),
        counts=summary.counts(run),
        warnings=summary.warnings(run),
        panels=panels(run),
        groups=provenance.readings(run),
        stages=provenance.stages(run),
        stage_columns=provenance.stage_columns(run),
        work=provenance.work(run),
        sections=provenance.sections(run),
        hashes=provenance.hashes(run),
        access=provenance.access(run),
        command=provenance.command(run),
        models=words.MODELS,
        words=words,
        script=Markup(script),  # nosec B704  # our own file; the page's policy lets nothing run that has another hash
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        swatch=lambda model: Markup(swatch(model)),  # nosec B704  # made of our own table of colours
    )


def panels(run: Run) -> list[Panel]:
    """Return all figures; those for which the run folder has no material say why."""
    found = []
    if run.audit is not None:
        of_classes = bool(run.forgotten) or not run.classes_of_rows  # what is about a class has nothing to say of rows
        found += [bands.bands(run), changes.accuracy(run)]
        found += [changes.collateral(run), changes.predictions(run)] if of_classes else []
        found.append(histograms.histograms(run))
        found += [recovery.probe(run), recovery.few_shot(run)] if of_classes else []
        found += [recovery.returned(run), recovery.membership(run), changes.weights(run)]
        found += [effort.relearn(run), effort.relearn_curves(run)] if of_classes else []
    if any((run.history or {}).values()):  # a stage that trains nothing has no losses
        found.append(effort.training(run))
    found += pictures.figures(run)
    if run.cost:
        found.append(effort.cost(run))
    return found


@cache
def _template() -> Template:
    """The page's template, which takes longer to compile than to fill."""
    page = Environment(
        loader=PackageLoader("unlearnkit.report", "."),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {"svg": Markup, "short_hash": short_hash, "filled": filled}
    return page.get_template("page.html.j2")


def _finalize(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
