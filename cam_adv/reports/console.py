"""Tables and texts on the terminal, whatever its width: nothing is cut off. Imports no torch."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

FOLDED = 16
"""Narrowest column, in characters, of texts that may be broken anywhere, such as paths."""

UNBOUNDED = 10_000
"""Characters of a terminal on which no table is too wide."""


def console() -> Console:
    """The terminal. Texts are printed as they are: a class may be called "[b]" or ":cat:"."""
    return Console(markup=False, emoji=False)


def new_table(title: str, compact: bool = False) -> Table:
    """An empty table of texts.

    Args:
        compact: without lines between its columns.
    """
    table = Table(title=title, title_justify="left", title_style="bold")
    if compact:
        table.box, table.padding = SIMPLE_HEAD, (0, 1, 0, 0)
    return table


def print_table(table: Table) -> None:
    """Print a table; on a terminal that is too narrow for its words, row by row, with a line for each cell."""
    terminal, widths = console(), [_widths(column) for column in table.columns]
    unbounded = Measurement.get(terminal, terminal.options.update(width=UNBOUNDED), table).maximum
    room = terminal.width - (unbounded - sum(width.most for width in widths))  # without lines and spaces
    if sum(width.least for width in widths) <= room:
        for column, width in zip(table.columns, _fit(widths, room), strict=True):
            column.width, column.no_wrap, column.overflow = width, False, "fold"
        terminal.print(table)
        return
    terminal.print(f"{table.title}\n", style="bold")
    for lines in _records(table):
        terminal.print("\n".join(lines) + "\n")


class _Width(NamedTuple):
    """Of a column, in characters: the least that breaks no word, and the most that it can use."""

    least: int
    most: int


def _widths(column: Column) -> _Width:
    lines = [line for cell in _texts(column) for line in cell.split("\n")]
    most = max(map(cell_len, lines))
    if column.no_wrap:
        return _Width(most, most)
    least = max(cell_len(word) for line in lines for word in line.split() or [""])
    return _Width(min(least, FOLDED) if column.overflow == "fold" else least, most)


def _fit(widths: list[_Width], room: int) -> list[int]:
    """The width of each column: at least its least, and what is left goes to those that lack most."""
    given = [width.least for width in widths]
    for _ in range(min(room, sum(width.most for width in widths)) - sum(given)):
        lacking = [width.most - own for width, own in zip(widths, given, strict=True)]
        given[lacking.index(max(lacking))] += 1
    return given


def _records(table: Table) -> Iterator[list[str]]:
    """The lines of each row: a header and its cell. An empty first cell repeats the one above, empty others are left
    out."""
    headers = [_in_one_line(str(column.header)) for column in table.columns]
    first = ""
    for cells in zip(*(_texts(column)[1:] for column in table.columns), strict=True):
        first = cells[0] or first
        pairs = zip(headers, (first, *cells[1:]), strict=True)
        yield [f"{header}: {cell}".removeprefix(": ").replace("\n", "; ") for header, cell in pairs if cell]


def _texts(column: Column) -> list[str]:
    """The header and the cells."""
    return [str(text) for text in (column.header, *column.cells)]


def _in_one_line(header: str) -> str:
    """A header without the line breaks that make its column narrow."""
    return re.sub(r"(?<=[./])\n", "", header).replace("-\n", "").replace("\n", " ")
