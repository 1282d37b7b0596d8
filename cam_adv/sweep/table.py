"""The sweep's table, one row a job: for other programs and for the terminal."""

import csv
import json
import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cam_adv.evaluation.outcome import QUESTIONS, Outcome
from cam_adv.sweep.jobs import Job, Sweep, text_of


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """One flat row for each job; None where it has no such value."""
    return [_row(job, sweep.keys) for job in sweep.jobs]


def as_json(sweep: Sweep) -> str:
    return json.dumps(rows(sweep), indent=2) + "\n"


def as_csv(sweep: Sweep) -> str:
    """The rows as CSV: what a job hasn't got is an empty cell, and a key that was set to null says so."""
    text = StringIO()
    content = rows(sweep)
    writer = csv.DictWriter(text, content[0], lineterminator="\n")
    writer.writeheader()
    for job, row in zip(sweep.jobs, content, strict=True):
        writer.writerow(row | {key: _cell(job, key) for key in sweep.keys})
    return text.getvalue()


def print_sweep(sweep: Sweep) -> None:
    """The failed jobs with their reasons, others without a result, and what came out of the rest."""
    results = [(job, job.outcome) for job in sweep.jobs if job.outcome and job.status != "failed"]
    without = [job for job in sweep.jobs if not job.outcome or job.status == "failed"]
    if without:
        table = _table(f"without an attack's result: {len(without)} of {len(sweep.jobs)} jobs", sweep.keys)
        table.add_column("status")
        if any(job.reason for job in without):
            table.add_column("reason", overflow="fold")
        for job in sorted(without, key=lambda job: job.status != "failed"):
            _add(table, *_named(job, sweep.keys), job.status, *([job.reason] if job.reason else []))
        Console().print(table)
    if results:
        table = _table(f"results: {len(results)} of {len(sweep.jobs)} jobs", sweep.keys)
        for name in ("success", "95%", "kept", "changed", "judge\nsure", "success\nper s"):
            table.add_column(name, justify="right", no_wrap=True)
        for job, outcome in results:
            _add(table, *_named(job, sweep.keys), *_figures(outcome))
        Console().print(table)


def _row(job: Job, keys: Sequence[str]) -> dict[str, Any]:
    outcome = job.outcome
    row: dict[str, Any] = {"folder": job.folder.name, "status": job.status}
    row |= {key: job.values.get(key) for key in keys}
    for question in QUESTIONS:
        rate = outcome.rates[question] if outcome else None
        row[question] = rate.rate if rate else None
        row[f"{question}_low"] = rate.low if rate else None
        row[f"{question}_high"] = rate.high if rate else None
    for name in ("images", "seconds", "successes_per_second"):
        row[name] = getattr(outcome, name) if outcome else None
    return row | {"reason": job.reason}


def _cell(job: Job, key: str) -> str:
    return text_of(job.values[key]) if key in job.values else ""


def _table(title: str, keys: Sequence[str]) -> Table:
    # Many columns for a terminal of 80 characters: no lines between them, and long names one part above the other.
    form = {"box": SIMPLE_HEAD, "padding": (0, 1, 0, 0)}
    table = Table(title=title, title_justify="left", title_style="bold", **form)
    table.add_column("job", justify="right", no_wrap=True)
    for key in keys:
        table.add_column(re.sub(r"([./])", r"\1\n", key), overflow="fold", min_width=6)
    return table


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(Text, cells))  # a plain str in [brackets] would be taken for a style


def _named(job: Job, keys: Sequence[str]) -> list[str]:
    return [str(job.number), *(_cell(job, key) for key in keys)]


def _figures(outcome: Outcome) -> list[str]:
    rates, speed = outcome.rates, outcome.successes_per_second
    success = rates["success"]
    return [
        f"{success.rate:.1%}",
        f"{100 * success.low:.1f}–{100 * success.high:.1f}",
        *(f"{rates[question].rate:.1%}" for question in ("kept", "changed", "success_confident")),
        "" if speed is None else f"{speed:.3g}",
    ]
