"""The table of the answers: as JSON, and printed."""

from dataclasses import asdict
from typing import Any

from cam_adv.metrics.intervals import Rate
from cam_adv.reports.console import new_table, print_table
from cam_adv.studies.reading.agreement import Agreement
from cam_adv.studies.reading.key import PictureKind
from cam_adv.studies.reading.table import ReadingTable

TITLES: dict[PictureKind, str] = {
    "x_adv": "x', the result of the attack",
    "start_image": "G(start)",
    "reconstruction": "G(μ(x)), the reconstruction",
    "x": "x, the real image",
}
READ_AS = {"target": "y'", "y": "y", "nothing": "nothing", "other": "another class"}


def table_to_json(table: ReadingTable) -> dict[str, Any]:
    """The content of `reading.json`."""
    return asdict(table)


def print_reading(table: ReadingTable, level: float, heading: str) -> None:
    """Print a row for each kind of picture, then how readers agree with the judge, each other and themselves."""
    shown = new_table(heading)
    for name in ("picture", "read as"):
        shown.add_column(name)
    for name in ("share", f"{level:.0%} interval"):
        shown.add_column(name, justify="right")
    for kind, of_kind in table.kinds.items():
        title = f"{TITLES[kind]}: {of_kind.pictures}"
        for name, rate in of_kind.read_as.items():
            shown.add_row(title, READ_AS[name], f"{rate.rate:.1%}", f"{rate.low:.1%} to {rate.high:.1%}")
            title = ""
        shown.add_section()
    print_table(shown)
    print(f"The judge reads in x' what a reader does: {_text(table.judge)}.")
    if table.agreement is not None:
        on_x_adv = table.kinds["x_adv"].agreement
        assert on_x_adv is not None
        print(f"Readers agree on {_agreement(table.agreement)} of all pictures; on {_agreement(on_x_adv)} of x'.")
    for name, reader in table.readers.items():
        again = (
            f", the same answer to {_text(reader.same_again)} of {reader.repeats} repeats"
            if reader.same_again
            else ""
        )
        print(f"{name}: {reader.median_seconds:.1f} s per answer (median){again}.")


def _text(rate: Rate) -> str:
    return f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _agreement(agreement: Agreement) -> str:
    kappa = "undefined" if agreement.kappa is None else f"{agreement.kappa:.2f}"
    return f"{agreement.share:.1%} (κ {kappa})"
