"""Defines the command `unlearnkit ledger`: its options, and the steps that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from unlearnkit.cli import options as opt
from unlearnkit.errors import ConfigError
from unlearnkit.runtime.terminal import print_json, print_line


def command(
    action: Annotated[
        Literal["add", "list", "verify"],
        typer.Argument(
            help="add: write a run folder into it; list: what is there; verify: compute the chain of hashes again, "
            "exit with 1 where it is broken"
        ),
    ],
    folder: Annotated[Path | None, typer.Argument(help="run folder to add")] = None,
    ledger: opt.Ledger = None,
    request: Annotated[
        str | None, typer.Option("--request", help="label of the request that the run answers: a number, no name")
    ] = None,
    head: Annotated[
        str | None, typer.Option("--head", help="for verify: hash of an entry that was kept elsewhere")
    ] = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Keep a ledger of requests and runs: what was to be forgotten, the model before and after, and its audit."""
    from unlearnkit.steps.ledger import add_run, list_ledger, verify_ledger

    if ledger is None:
        raise ConfigError("Expected a ledger, but got none; name its file by --ledger or in UNLEARNKIT_LEDGER.")
    if (action == "add") == (folder is None):
        what = "a run folder to add" if action == "add" else f"no run folder for `{action}`"
        raise ConfigError(f"Expected {what}, but got {folder or 'none'}; `unlearnkit ledger add RUN` adds one.")
    if (request and action != "add") or (head and action != "verify"):
        raise ConfigError(
            f"Expected --request with `add` and --head with `verify` alone, but got one with `{action}`; leave it out."
        )
    if folder is not None:
        result = add_run(ledger, folder, request=request)
    else:
        result = list_ledger(ledger) if action == "list" else verify_ledger(ledger, head)
    if as_json:
        print_json(result)
    elif not quiet:
        for line in {"add": _added, "list": _listed, "verify": _verified}[action](result):
            print_line(line)
    if action == "verify" and not result["ok"]:
        raise typer.Exit(1)


def _added(result: dict[str, Any]) -> list[str]:
    what = "entry" if result["added"] else "it is there already, as entry"
    return [f"{what} {result['number']} of {result['ledger']}; its hash: {result['head']}"]


def _listed(result: dict[str, Any]) -> list[str]:
    return [_line(entry) for entry in result["entries"]]


def _line(entry: dict[str, Any]) -> str:
    if entry.get("kind") == "ledger":
        return f"{entry['number']:>4}  {entry.get('time')}  the ledger begins"
    audit = entry.get("audit")
    follows = ", ".join(map(str, entry["follows"]))
    parts = [
        f"{entry['number']:>4}  {entry.get('time')}  {entry.get('kind')}",
        *([f"request {entry['request']}"] if entry.get("request") else []),
        f"forget {', '.join(map(str, entry.get('forget') or ())) or 'nothing'}",
        f"model {_short(entry.get('model_before'))} -> {_short(entry.get('model_after'))}",
        f"audit {audit.get('verdict')} ({audit.get('tier')})" if isinstance(audit, dict) else "no audit",
        *([f"follows {follows}"] if follows else []),
    ]
    return "  ".join(parts)


def _short(digest: object) -> str:
    return digest[:12] if isinstance(digest, str) else "none"


def _verified(result: dict[str, Any]) -> list[str]:
    if not result["ok"]:
        return [f"BROKEN: {result['wrong']}"]
    lines = [f"all {result['count']} entries are as they were written, in their order"]
    if result["since_head"] is not None:
        lines.append(f"the entry that was kept is there; {result['since_head']} came after it")
    else:
        lines.append(
            "not found by this: newest entries that were cut off, or a whole ledger written anew; keep the hash below "
            "elsewhere, and give it as --head next time"
        )
    return [*lines, f"hash of the newest entry: {result['head']}"]
