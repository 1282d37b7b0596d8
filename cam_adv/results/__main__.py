"""The command `python -m cam_adv.results`, in the root of a clone."""

import argparse
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from cam_adv.benchmark.machine import matmul_flops_per_second
from cam_adv.errors import UserError
from cam_adv.reports.console import new_table, print_table
from cam_adv.results.filters import duration
from cam_adv.results.making import make, record_file
from cam_adv.results.page import render
from cam_adv.results.record import Record
from cam_adv.results.registry import RESULTS
from cam_adv.results.result import Result
from cam_adv.runtime.atomic_files import write_atomically

PAGES = ("README.md", "cam_adv/README.md", "outputs/example/README.md")
FOLDER = Path("outputs", "example")
"""Of the records and the pictures."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the results that the project states, where they are missing or older than the code, and its pages anew."""
    parser = argparse.ArgumentParser("python -m cam_adv.results", description=main.__doc__)
    parser.add_argument("--list", action="store_true", help="only say which results are fresh, and what each takes")
    parser.add_argument("--render", action="store_true", help="only write the pages anew, from what was made")
    parser.add_argument("--quick", action="store_true", help="the headline results alone")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these results alone")
    parser.add_argument("--jobs", type=int, default=1, help="so many at once, each with its share of the cores")
    chosen = parser.parse_args(arguments)
    if chosen.jobs < 1:
        parser.error(f"--jobs={chosen.jobs} can't be used: give 1 or more")
    names = [one.name for one in RESULTS]
    if unknown := set(chosen.only or ()) - set(names):
        parser.error(f"there is no result {', '.join(sorted(unknown))}: choose from {', '.join(names)}")
    results = [one for one in RESULTS if (one.headline or not chosen.quick) and one.name in (chosen.only or names)]
    root = Path.cwd()
    if missing := [page for page in PAGES if not (root / page).is_file()]:
        parser.error(f"{missing[0]} is not here: start the command in the root of a clone")
    if chosen.list:
        print_state(results, root)
    else:
        failed = [] if chosen.render else make_all(results, root, chosen.jobs)
        try:
            render_pages(root)
        except UserError as error:
            parser.error(f"{error.what} {error.remedy}")
        if failed:
            raise SystemExit(1)


def read_records(root: Path) -> dict[str, Record | None]:
    """The record of each result; None where it was never made."""
    files = {one.name: record_file(root / FOLDER, one.name) for one in RESULTS}
    return {name: Record.read(file) if file.exists() else None for name, file in files.items()}


def state(result: Result, record: Record | None) -> str:
    """Whether a result is what today's code makes: `fresh`, `stale` or `missing`."""
    if record is None:
        return "missing"
    return "fresh" if (record.source, record.command) == (result.source, result.command) else "stale"


def print_state(results: Sequence[Result], root: Path) -> None:
    """Print whether each result is fresh, and how long it took and takes."""
    records = read_records(root)
    table = new_table("results", compact=True)
    table.add_column("result", no_wrap=True)
    for column in ("", "state", "took", "minutes"):
        table.add_column(column, no_wrap=True)
    for one in results:
        record = records[one.name]
        seconds = duration(record.seconds) if record and record.seconds else ""
        headline = "headline" if one.headline else ""
        table.add_row(one.name, headline, state(one, record), seconds, f"{one.minutes:g}")
    print_table(table)


def make_all(results: Sequence[Result], root: Path, jobs: int) -> list[Result]:
    """Make those that are missing or stale, some at once; returns those that failed."""
    records = read_records(root)
    devices = torch.cuda.is_available()
    waiting = [one for one in results if state(one, records[one.name]) != "fresh" and (devices or not one.gpu)]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    work = partial(_make, root=root, threads=threads, matmul_rate=matmul_flops_per_second())
    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(work, waiting))
    return [one for one, succeeded in zip(waiting, done, strict=True) if not succeeded]


def render_pages(root: Path) -> None:
    """Write the pages anew.

    Raises:
        UserError: see `page.render`.
    """
    records: Mapping[str, Record | None] = read_records(root)
    for page in PAGES:
        write_atomically(root / page, render((root / page).read_text(encoding="utf-8"), records))


def _make(result: Result, root: Path, threads: int, matmul_rate: float) -> bool:
    print(f"{result.name}: {result.command}", flush=True)
    try:
        record = make(result, root, root / FOLDER, threads, matmul_rate)
    except UserError as error:
        print(f"{result.name}: {error.what} {error.remedy}", flush=True)
        return False
    print(f"{result.name}: made in {duration(record.seconds)}", flush=True)
    return True


if __name__ == "__main__":
    main()
