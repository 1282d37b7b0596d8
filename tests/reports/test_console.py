"""Tables at the widths of terminals: every cell is there, whole or folded, and every text is literal."""

from collections.abc import Callable

import pytest
from rich.table import Table

from cam_adv.metrics.intervals import Rate
from cam_adv.reports.console import FOLDED, new_table, print_table
from cam_adv.reports.terminal import print_agreement

WIDTHS = (20, 40, 60, 80, 200)
PATH = "/home/someone/experiments/outputs/models/victim-gap_cnn-mnist_5k-0123456789abcdef"


def sweep_like() -> Table:
    """A table of four long keys with their values and results."""
    table = new_table("results: 2 of 2 jobs", compact=True)
    table.add_column("job", justify="right", no_wrap=True)
    for key in ("model.\nvictim.\ntraining.\nepochs", "attack", "attack.\nresidual.\neps", "selection.\ntarget"):
        table.add_column(key, overflow="fold")
    for name in ("success", "95%", "plau-\nsible"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("10", "120", "type1_photographs", "0.125", "random", "50.0%", "40.0–55.0", "70.5%")
    table.add_row("11", "240", "type1", "0.25", "next", "61.0%", "50.0–65.0", "80.5%")
    return table


def with_path() -> Table:
    table = new_table("models")
    table.add_column("model")
    table.add_column("metrics")
    table.add_column("folder", overflow="fold")
    table.add_row("victim gap_cnn", "accuracy 0.97  loss 0.09", PATH)
    return table


def with_sections() -> Table:
    table = new_table("trained")
    table.add_column("trained\nagainst", no_wrap=True)
    table.add_column("attack")
    table.add_column("change\n(95% interval, paired)", no_wrap=True)
    table.add_row("Type II", "(accuracy)", "97.0% (95.1 to 98.2%)")
    table.add_row("", "pgd_l2", "-12.0% (-20.1 to -4.2%)\n3 left out")
    return table


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[Table, int], str]:
    """What a table looks like on a terminal of this width."""

    def at(table: Table, width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(table)
        return capsys.readouterr().out

    return at


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("make", [sweep_like, with_path, with_sections])
def test_nothing_is_dropped_at_any_width(
    printed: Callable[[Table, int], str], make: Callable[[], Table], width: int
) -> None:
    table = make()
    words = {word for column in table.columns for cell in column.cells for word in str(cell).split()}
    text = printed(table, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert [word for word in words if word not in text and len(word) <= min(width, FOLDED)] == []


@pytest.mark.parametrize("width", [20, 40, 80])
def test_long_path_is_folded(printed: Callable[[Table, int], str], width: int) -> None:
    lines = printed(with_path(), width).splitlines()
    last_column = "".join(line.strip("│ ").split("│")[-1].strip() for line in lines)
    assert PATH in last_column


def test_four_keys_at_40_columns_become_lines_of_key_and_value(printed: Callable[[Table, int], str]) -> None:
    first = [line.strip() for line in printed(sweep_like(), 40).split("\n\n")[1].splitlines()]
    assert first == [
        "job: 10",
        "model.victim.training.epochs: 120",
        "attack: type1_photographs",
        "attack.residual.eps: 0.125",
        "selection.target: random",
        "success: 50.0%",
        "95%: 40.0–55.0",
        "plausible: 70.5%",
    ]


def test_record_repeats_the_first_cell_that_a_section_leaves_out(printed: Callable[[Table, int], str]) -> None:
    second = printed(with_sections(), 30).split("\n\n")[2].split("\n")
    assert second[:2] == ["trained against: Type II", "attack: pgd_l2"]
    assert " ".join(second[2:]).split() == (
        ["change", "(95%", "interval,", "paired):", "-12.0%", "(-20.1", "to", "-4.2%);", "3", "left", "out"]
    )


def test_wide_terminal_gets_a_table(printed: Callable[[Table, int], str]) -> None:
    lines = [line.split() for line in printed(sweep_like(), 100).splitlines()]
    assert ["10", "120", "type1_photographs", "0.125", "random", "50.0%", "40.0–55.0", "70.5%"] in lines


@pytest.mark.parametrize("width", [20, 80])
def test_names_like_markup_are_printed_literally(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_agreement({name: Rate(0.5, 0.4, 0.6) for name in ("[red]", "[/x]", ":cat:")})
    out = capsys.readouterr().out
    assert all(name in out for name in ("[red]", "[/x]", ":cat:"))
