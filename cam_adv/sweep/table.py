"""The table of a sweep with one row per job: as CSV, as JSON, and in the terminal."""

import json
import re
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from cam_adv.metrics.funnel import QUESTIONS, judge_rate, victim_rate
from cam_adv.metrics.summary import AttackSummary
from cam_adv.reports.console import new_table, print_table
from cam_adv.runtime.csv_text import csv_text
from cam_adv.sweep.jobs import Job, Sweep, format_value


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """One flat row per job; None for a value that it lacks."""
    return [_row(job, sweep.keys) for job in sweep.jobs]


def as_json(sweep: Sweep) -> str:
    return json.dumps(rows(sweep), indent=2) + "\n"


def as_csv(sweep: Sweep) -> str:
    """The rows as CSV: a missing value is an empty field, while a key that was set to null has the field `null`."""
    keys = sweep.keys
    return csv_text([_row(job, keys) | {key: _cell(job, key) for key in keys} for job in sweep.jobs])


def print_sweep(sweep: Sweep) -> None:
    """Print the jobs without a result, failed ones with their reasons first, and then the results of the others."""
    results, without = sweep.results, sweep.without_result
    if without:
        table = _table(f"without an attack's result: {len(without)} of {len(sweep.jobs)} jobs", sweep.keys)
        table.add_column("status")
        if any(job.reason for job in without):
            table.add_column("reason", overflow="fold")
        for job in sorted(without, key=lambda job: job.status != "failed"):
            table.add_row(*_job_cells(job, sweep.keys), job.status, *([job.reason] if job.reason else []))
        print_table(table)
    if results:
        table = _table(f"results: {len(results)} of {len(sweep.jobs)} jobs", sweep.keys)
        for name in ("success", "95%", "victim", "plau-\nsible", "judge", "success\nper s"):
            table.add_column(name, justify="right", no_wrap=True)
        for job, summary in results:
            table.add_row(*_job_cells(job, sweep.keys), *_result_cells(summary))
        print_table(table)


def _row(job: Job, keys: Sequence[str]) -> dict[str, Any]:
    summary = job.summary
    row: dict[str, Any] = {"folder": job.folder, "status": job.status}
    row |= {key: job.values.get(key) for key in keys}
    for name in QUESTIONS:
        rate = summary.rates[name] if summary else None
        row[name] = rate.rate if rate else None
        row[f"{name}_low"] = rate.low if rate else None
        row[f"{name}_high"] = rate.high if rate else None
    for name in ("images", "seconds", "successes_per_second"):
        row[name] = getattr(summary, name) if summary else None
    return row | {"reason": job.reason}


def _cell(job: Job, key: str) -> str:
    return format_value(job.values[key]) if key in job.values else ""


def _table(title: str, keys: Sequence[str]) -> Table:
    # Compact, to fit 80 characters: no lines between columns, and long keys are broken after each dot and slash.
    table = new_table(title, compact=True)
    table.add_column("job", justify="right", no_wrap=True)
    for key in keys:
        table.add_column(re.sub(r"([./])", r"\1\n", key), overflow="fold")
    return table


def _job_cells(job: Job, keys: Sequence[str]) -> list[str]:
    return [str(job.number), *(_cell(job, key) for key in keys)]


def _result_cells(summary: AttackSummary) -> list[str]:
    rates, speed = summary.rates, summary.successes_per_second
    success = rates["success"]
    victim, judge = victim_rate(summary.kind, rates), judge_rate(summary.kind, rates)
    return [
        f"{success.rate:.1%}",
        f"{100 * success.low:.1f}–{100 * success.high:.1f}",
        *(f"{rate.rate:.1%}" for rate in (victim, rates["plausible"], judge)),
        "" if speed is None else f"{speed:.3g}",
    ]
