"""What a sweep ends with: `sweep.csv`, `sweep.json`, `sweep.png` and a table in the terminal."""

import argparse
import sys
from io import BytesIO
from pathlib import Path

from cam_adv.errors import UserError
from cam_adv.report.style import DPI
from cam_adv.sweep.figure import sweep_figure
from cam_adv.sweep.jobs import Sweep, read_sweep
from cam_adv.sweep.table import as_csv, as_json, print_sweep
from cam_adv.writing import write_whole


def report(folder: Path) -> None:
    """Read a sweep's folder and leave its tables and its picture there; without an attack's result, no picture.

    Raises:
        UserError: it is not the folder of a sweep, or can't be read or written.
    """
    sweep = read_sweep(folder)
    written = {"sweep.csv": as_csv(sweep), "sweep.json": as_json(sweep)}
    if any(job.outcome for job in sweep.jobs):
        written["sweep.png"] = _picture(sweep)
    for name, content in written.items():
        _write(folder / name, content)
    print_sweep(sweep)
    print(f"look at   {folder}")
    for name in written:
        print(f"          {name}")


def main() -> None:
    """The command `cam-adv-sweep`: report a sweep again, or as far as it has come."""
    parser = argparse.ArgumentParser("cam-adv-sweep", description="Make a sweep's table and picture from its jobs.")
    parser.add_argument("folder", type=Path, help="of the sweep: outputs/multirun/<name>/<date>")
    try:
        report(parser.parse_args().folder)
    except UserError as error:
        print(f"cam-adv-sweep: {error.what}\n               {error.remedy}", file=sys.stderr)
        sys.exit(2)


def _picture(sweep: Sweep) -> bytes:
    picture = BytesIO()
    sweep_figure(sweep).savefig(picture, dpi=DPI, format="png")
    return picture.getvalue()


def _write(path: Path, content: str | bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise UserError(
            f"{path} can't be written: {error.strerror}.", "Make room and give yourself the right to write there."
        ) from error
