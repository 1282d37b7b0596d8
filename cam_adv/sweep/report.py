"""The report of a sweep: `sweep.csv`, `sweep.json`, `sweep.png`, `sweep.html` and a table in the terminal."""

import argparse
import shlex
import sys
from pathlib import Path

from cam_adv.errors import UserError
from cam_adv.plots.drawing import Drawing
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.runtime.standard_streams import protect_standard_streams
from cam_adv.sweep.figure import sweep_figure
from cam_adv.sweep.jobs import read_sweep
from cam_adv.sweep.page import NAME, write_sweep_page
from cam_adv.sweep.table import as_csv, as_json, print_sweep


def report(folder: Path) -> None:
    """Read a sweep's folder and write its tables, its figure and its page there; neither of the last two if no
    attack has a result, or where the sweep's config has `figures=false`.

    Raises:
        UserError: it is not the folder of a sweep, or can't be read or written.
    """
    sweep = read_sweep(folder)
    files = ["sweep.csv", "sweep.json"]
    try:
        write_atomically(folder / "sweep.csv", as_csv(sweep))
        write_atomically(folder / "sweep.json", as_json(sweep))
    except OSError as error:
        raise UserError(
            f"{error.filename2 or error.filename} can't be written: {error.strerror}.",
            "Free some disk space, or give yourself the permission to write there.",
        ) from error
    print_sweep(sweep)
    attacked = bool(sweep.results)
    drawing = Drawing(folder, wanted=sweep.figure and attacked)
    drawing.draw("sweep.png", sweep_figure, sweep)
    if drawing.wanted:
        with drawing.attempt(NAME):
            write_sweep_page(sweep)
        files += [name for name in ("sweep.png", NAME) if name not in drawing.failed]
    print(f"results   {folder}")
    for name in files:
        print(f"          {name}")
    if attacked:
        print(f"curves    tensorboard --logdir {shlex.quote(str(folder))}")


def main() -> None:
    """The command `cam-adv-sweep`: report a finished or a running sweep again."""
    protect_standard_streams()
    parser = argparse.ArgumentParser("cam-adv-sweep", description="Write the table and the figure of a sweep.")
    parser.add_argument("folder", type=Path, help="of the sweep: outputs/multirun/<name>/<date>")
    try:
        report(parser.parse_args().folder)
    except UserError as error:
        print(f"cam-adv-sweep: {error.what}\n               {error.remedy}", file=sys.stderr)
        sys.exit(2)
