"""Prints summaries of results on standard output, short enough to read at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearnkit.class_names import listed
from unlearnkit.runtime.terminal import escaped

ROWS = (
    ("accuracy", "forget_test", "forgotten test accuracy", "{:.1%}"),
    ("accuracy", "retain_test", "retained test accuracy", "{:.1%}"),
    ("collateral_accuracy", "retain_test", "  nearest classes", "{:.1%}"),
    ("prediction_max_share", "forget_test", "forgotten: top class", "{:.1%}"),
    ("prediction_tv", "forget_test", "  total variation", "{:.2f}"),
    ("activation_distance", "forget_test", "  activation distance", "{:.2f}"),
    ("membership_auc_loss", None, "membership AUC, samples", "{:.2f}"),
    ("class_membership_auc", None, "  class", "{:.2f}"),
    ("probe_recovery", "forget_test", "linear probe recovers", "{:.1%}"),
    ("prototype_recovery", "forget_test", "  class means", "{:.1%}"),
    ("depth_recovery", "forget_test", "  farthest at any depth", "{:.2f}"),
    ("few_shot_recovery", "forget_test", "20 shots of each class", "{:.1%}"),
    ("return_recovery", "forget_test", "retained data bring back", "{:.1%}"),
    ("relearn_steps", None, "steps until relearned", "{:.0f}"),
    ("relearn_forget_steps", None, "  forgotten alone", "{:.0f}"),
    ("weight_distance", None, "weight distance", "{:.1f}"),
    ("cost_seconds", None, "seconds of work", "{:.1f}"),
)

OF_PICTURES = (  # where single pictures or parts of classes were to be forgotten
    ("accuracy", "forget_train", "accuracy on the pictures", "{:.1%}"),
    ("accuracy", "retain_test", "retained test accuracy", "{:.1%}"),
    ("activation_distance", "forget_train", "activation distance", "{:.2f}"),
    ("margin_distance", "forget_train", "distance of margins", "{:.2f}"),
    ("membership_auc_rmia", None, "membership AUC, RMIA", "{:.2f}"),
    ("membership_auc_loss", None, "  loss", "{:.2f}"),
    ("return_recovery", "forget_train", "retained data bring back", "{:.1%}"),
    ("weight_distance", None, "weight distance", "{:.1f}"),
    ("cost_seconds", None, "seconds of work", "{:.1f}"),
)

TIERS = {
    "E3": "training samples of the forgotten classes were there to look at",
    "E2": "held-out samples of the forgotten classes were there to look at, training samples were not",
    "E1": "stand-ins of another origin were looked at, no sample of the forgotten classes",
    "E0": "no sample of the forgotten classes was there to look at, so nothing can pass",
}


LIKE_THESE = {"pass": "yes", "fail": "no", "unknown": "unknown"}  # nosec B105  # a verdict
SIGNALS = {
    "samples": "how far forgotten training samples are still recognised",
    "remade": "how far images that the original takes for the forgotten classes, made without any of theirs, still are",
}
LEFT = 0.1  # of what is left, beyond which the best trial is not called forgetting


def show_result(result: dict[str, Any]) -> None:
    """Print a step's summary."""
    console = Console(highlight=False)
    if "audit" in result:
        _show_audit(console, result["audit"], result)
    if "trials" in result:
        _show_trials(console, result)
    for line in _lines(result):
        console.print(_text(line), soft_wrap=True)  # neither a sentence nor a path is broken in a pipe


def _text(text: str) -> Text:
    """Return text as it may be printed: names in it come from files."""
    return Text(escaped(text))


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [result["weights_note"]] if result.get("weights_note") else []
    if "access" in result:
        access = result["access"]
        lines.append(
            f"{'pictures to forget' if result.get('forget_rows') else 'samples of forgotten classes'} "
            f"read by the method{' and its tuning' if 'trials' in result else ''}: "
            f"{access['forget_samples_read']}, "
            f"by the audit: {access['forget_samples_read_by_audit']}, decoded: {access['forget_samples_decoded']}"
        )
    if result.get("validation_accuracy") is not None:
        lines.append(
            f"validation accuracy {result['validation_accuracy']:.1%} "
            f"on {result['validation_samples']} samples held out"
        )
    counted = result.get("operations", result.get("cost", {}).get("operations"))
    if counted is not None:
        from unlearnkit.report.sentences import in_flop

        lines.append(f"floating-point operations: {in_flop(counted)}; counting them slowed the run")
    notes = result.get("notes", {})
    kept = notes.get("safeguard")
    privacy = notes.get("privacy")
    decided = "audit" in result and result["audit"]["verdict"]["status"] in ("pass", "fail")
    doubt = None if decided else notes.get("doubt")
    if kept or privacy or doubt or "statement" in notes:
        from unlearnkit.report.sentences import plain, read_doubt, read_statement
        from unlearnkit.report.words import ENGLISH, of_pictures

        statement = read_statement(notes, "the run")
        if statement is not None:
            lines.append(f"statement: {plain(statement, ENGLISH)}")
        if privacy:
            lines.append(f"privacy: {plain(read_doubt(privacy, 'the run'), ENGLISH)}")
        if doubt:
            lines.append(f"warning: {plain(read_doubt(doubt, 'the run'), ENGLISH)}")
    if kept:
        warning = "" if kept["code"] in ("retained_accuracy_kept", "retained_accuracy_open") else "warning: "
        words = of_pictures(ENGLISH) if result.get("forget_rows") and not result.get("forget") else ENGLISH
        lines.append(f"{warning}{plain(read_doubt(kept, 'the run'), words)}")
    if auto := notes.get("auto"):
        from unlearnkit.methods.auto import why_not

        others = [f"{each['method']}: {why_not(each)}" for each in auto["tried"] if each["method"] != auto["kept"]]
        why = "" if auto["holds"] else ", which lost the least retained accuracy, and more than it may"
        lines.append(f"auto kept {auto['kept']}{why}" + (f" ({'; '.join(others)})" if others else ""))
    if sisa := notes.get("sisa"):
        share = sisa["passes"] / max(1, sisa["retraining"])
        lines.append(
            f"retrained {sisa['touched']} of {sisa['shards']} shards: {sisa['passes']:,} sample passes, {share:.1%} of "
            f"the {sisa['retraining']:,} of training all anew"
        )
    private = result.get("private")
    if private:
        lines.append(
            f"differential privacy: epsilon {private['epsilon']:.3g} at delta {private['delta']:.1e} for one sample; "
            "for k samples together k times that epsilon"
        )
    search = result.get("notes", {}).get("search")
    if search and not search["accepted"]:
        lines.append(
            "warning: retained validation accuracy fell by more than the tolerance at every rate, and the first "
            "attempt was kept, which forgot most; raise retain_per_class or the epochs, or try another method."
        )
    absent = result.get("notes", {}).get("no_samples_of")
    if absent:
        lines.append(
            f"warning: no training samples of {listed(absent, quoted=False)}, so nothing keeps what the model knows "
            "of them; give data that holds some, or name them by --forget or --already-forgotten."
        )
    if "removed" in result:
        lines.append(
            f"removed the outputs of {listed(result['removed'], quoted=False)}; {len(result['classes'])} are left"
        )
    lines.append(f"written to {result['out']}")
    if "audit" in result:
        lines.append(f"report: {result['out']}/report.html")
    if "next" in result:
        lines.append("the article's method on the same digits, for comparison:")
        lines.append(result["next"])
    if "trials" in result:
        best = result["trials"][result["best"]]
        if best["left"] > LEFT:
            lines.append(
                f"warning: no trial forgot without losing more; the best one leaves {best['left']:.1%}. "
                "Try another method, or more trials."
            )
        lines.append(f"the best settings, in trial {result['best']}; forget with them by:")
        lines.append(result["command"])
    return lines


def show_verified(result: dict[str, Any]) -> None:
    """Print the result of the check of every file that a run folder's manifest records."""
    console = Console(highlight=False)
    for file in result["files"]:
        console.print(_text(f"{file['state']:<12}  {file['kind']:<8}  {file['name']}"), soft_wrap=True)
    for line in _signature_lines(result):
        console.print(_text(line), soft_wrap=True)
    summary = "everything is as recorded" if result["ok"] else "not everything is as recorded"
    console.print(_text(f"{summary}; sha256 of the manifest: {result['manifest']}"), soft_wrap=True)


def _signature_lines(result: dict[str, Any]) -> list[str]:
    """Say who signed the folder, and whether that still holds for all of it."""
    lines = []
    for one in result["signatures"]:
        who = "the key that was asked for" if one["asked_for"] else "a key"
        line = f"{one['state']}: {who}, {one['key']}, says that it signed on {one['signed']}"
        if one["state"] == "forged":
            line = f"forged: a signature in the name of {one['key']} is not by that key"
        elif one["state"] == "changed after signing":
            line += f"; changed, new or gone since: {listed(one['changed'], most=20) or 'what it records'}"
        lines.append(line)
    if not result["signatures"]:
        lines.append("unsigned: who changes a file on purpose can change what is recorded of it too")
    elif result["signed_by_key"] is None:
        lines.append("whose key that is nobody has checked; --key PUBLIC asks for the signature of a key that you know")
    if result["signed_by_key"] is False:
        lines.append("NOT SIGNED by the key that was asked for, as it is now")
    return lines


def show_methods(described: list[dict[str, Any]]) -> None:
    """Print each method with its idea, the data that it reads and its cost."""
    console = Console(highlight=False)
    for method in described:
        _show_method(console, method)
    console.print("Settings, presets and bounds of tuning: unlearnkit methods NAME; its card: the same with --cards.")


def show_settings(described: list[dict[str, Any]]) -> None:
    """Print the presets, the tuning bounds and every setting of each method, besides its idea."""
    console = Console(highlight=False)
    for method in described:
        _show_method(console, method)
        bounds = ", ".join(f"{name} ({low:g} to {high:g})" for name, (low, high) in method["tuned"].items())
        _show_facts(console, f"presets: {', '.join(method['presets'])}", *([f"tuned: {bounds}"] if bounds else []))
        table = Table(box=None, padding=(0, 2), show_header=False)
        for setting in method["settings"]:
            table.add_row(_text(f"  {setting['name']}={setting['value']}"), _text(setting["description"]))
        console.print(table)


def _show_method(console: Console, method: dict[str, Any]) -> None:
    """Print a method's idea, the data that it reads and its cost."""
    console.print(_text(f"{method['name']}: {method['idea']}"), soft_wrap=True)
    _show_facts(
        console,
        *(["a control, which an audit must not pass"] if method["control"] else []),
        f"reads: {', '.join(method['reads']) or 'nothing'}",
        f"costs: {method['cost']}",
    )


def _show_facts(console: Console, *facts: str) -> None:
    for fact in facts:
        console.print(_text(f"  {fact}"), soft_wrap=True)


def _show_trials(console: Console, result: dict[str, Any]) -> None:
    """Print all trials, with a mark on the best."""
    table = Table(box=None, padding=(0, 1))
    for title in ("trial", "settings"):
        table.add_column(title)
    for title in ("retained", "left", "score", "samples"):
        table.add_column(title, justify="right", no_wrap=True)
    before = result["before"]
    table.add_row("", "(the original)", f"{before['retained']:.1%}", f"{before['left']:.1%}", "", "")
    for trial in result["trials"]:
        mark = "*" if trial["trial"] == result["best"] else ""
        settings = " ".join(trial["settings"]) or "as given"
        if trial["score"] is None:
            cells = ["failed", "", "", ""]
        else:
            samples = trial["cost"]["samples_forward"] + trial["cost"]["samples_backward"]
            cells = [f"{trial['retained']:.1%}", f"{trial['left']:.1%}", f"{trial['score']:.3f}", f"{samples:,}"]
        table.add_row(f"{trial['trial']}{mark}", _text(settings), *cells)
    console.print(table)
    console.print(_text(f"left: {SIGNALS[result['signal']]}"), soft_wrap=True)


def _show_audit(console: Console, audit: dict[str, Any], result: dict[str, Any]) -> None:
    """Print a table of the most important readings; the retrained models share one column."""
    # the page's libraries, which few commands need
    from unlearnkit.report.sentences import read_doubt, shares_of_retraining, titled, to_turn, told
    from unlearnkit.report.words import ENGLISH, of_pictures

    models = ("original", "unlearned", "retrained")
    retrained = {r["replicate"] for r in audit["readings"] if r["model"] == "retrained"}
    table = Table(box=None, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for name in models if retrained else models[:2]:
        table.add_column(
            name if name != "retrained" or len(retrained) == 1 else f"{len(retrained)} retrained", justify="right"
        )
    table.add_column("like these?")
    pictures = "margin_distance/forget_train" in audit["votes"]
    words = of_pictures(ENGLISH) if pictures else ENGLISH
    for metric, part, title, form in OF_PICTURES if pictures else ROWS:
        groups = [
            [
                r
                for r in audit["readings"]
                if (r["metric"], r["model"], r["part"]) == (metric, name, part) and r["value"] is not None
            ]
            for name in models
        ]
        if any(groups):
            cells = [_cell(group, form) for group in (groups if retrained else groups[:2])]
            verdict = next((r["verdict"] for r in groups[1]), None)
            table.add_row(title, *cells, LIKE_THESE.get(verdict or "", ""))
    console.print(table)
    why = told([titled(read_doubt(doubt, "the audit"), words) for doubt in audit["verdict"]["why"]], words)
    console.print(_text(f"verdict: {audit['verdict']['status']} ({why})"), soft_wrap=True)
    if audit["notices"]:
        kept = told([read_doubt(each, "the audit") for each in audit["notices"]], words)
        turn = to_turn(result.get("method"), result.get("stronger"), ENGLISH)
        console.print(_text(ENGLISH.NOT_FORGOTTEN.format(kept, turn)), soft_wrap=True)
    tier = words.TIERS[audit["tier"]] if pictures else f"{audit['tier']}, {TIERS[audit['tier']]}"
    console.print(_text(f"evidence: {tier}"), soft_wrap=True)
    ratio = next((r for r in audit["readings"] if r["metric"] == "cost_ratio" and r["value"]), None)
    if ratio:
        shares = shares_of_retraining(ratio["value"], ratio["series"] or {}, ENGLISH)
        doubts = told([read_doubt(doubt, "the audit") for doubt in ratio["doubts"]], ENGLISH)
        console.print(
            _text(f"cost {ENGLISH.AGAINST_RETRAINING}: {shares}" + (f" ({doubts})" if doubts else "")), soft_wrap=True
        )
    if audit["spent"]:
        console.print(_text(_work(audit["spent"], ENGLISH.WORK)), soft_wrap=True)


def _work(spent: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Return what the parts of the audit cost, the dearest first; what took next to no time is left out."""
    total = sum(part["seconds"] for part in spent.values())
    told = [
        f"{names[work]} {part['seconds']:.1f} s"
        + (f" ({part['samples_forward']:,} images)" if part["samples_forward"] else "")
        for work, part in sorted(spent.items(), key=lambda pair: -pair[1]["seconds"])
        if part["seconds"] >= 0.01 * total
    ]
    return f"the audit took {total:.1f} s: {', '.join(told)}"


def _cell(group: list[dict[str, Any]], form: str) -> str:
    """Return one value as text, or the lowest and the highest of several."""
    if not group:
        return "-"
    ends = [min(group, key=lambda r: r["value"]), max(group, key=lambda r: r["value"])]
    texts = [
        ("> " if any(d["code"] == "censored" for d in r["doubts"]) else "") + form.format(r["value"]) for r in ends
    ]
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)
