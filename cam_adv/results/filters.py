"""How figures are written in the pages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cam_adv.benchmark.tables import cases_table, device_table, table
from cam_adv.metrics import funnel
from cam_adv.metrics.intervals import Rate
from cam_adv.results.record import Record

UNKNOWN = "–"


def rate(figures: Mapping[str, Any] | None, name: str | None = None) -> str:
    """`99.5% (97.2 to 99.9%)`, or a dash where it isn't known.

    Args:
        figures: `rate`, `low` and `high`; or a row of a sweep, with `name`, `name_low` and `name_high`.
    """
    if figures is None or (name is not None and figures[name] is None):
        return UNKNOWN
    keys = ("rate", "low", "high") if name is None else (name, f"{name}_low", f"{name}_high")
    return str(Rate(*(figures[key] for key in keys)))


def percent(value: float | None) -> str:
    """`99.5%`."""
    return UNKNOWN if value is None else f"{value:.1%}"


def number(value: float | None, digits: int = 3) -> str:
    """With so many significant digits."""
    return UNKNOWN if value is None else f"{value:.{digits}g}"


def duration(seconds: float) -> str:
    """`48 s`, `2 min 54 s` or `1 h 5 min`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def took(record: Record) -> str:
    """The duration of its command; of one that was interrupted and resumed only that of the last part is known."""
    if not record.seconds:
        return ""
    return duration(record.seconds) + (", the last part" if record.resumed else "")


def row(rows: Sequence[Mapping[str, Any]], **values: Any) -> Mapping[str, Any]:
    """The one row of a sweep with these values of swept keys; a key by its last part.

    Raises:
        ValueError: none has, or several.
    """
    found = [one for one in rows if all(_value(one, key) == value for key, value in values.items())]
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows have {values}")
    return found[0]


def funnel_table(summary: Mapping[str, Any]) -> str:
    """The funnel of an attack, from its `summary.json`."""
    rates = {name: Rate(**summary[name]) for name in funnel.QUESTIONS}
    lines = [
        [text, f"{one.rate:.1%}", "" if one.low == one.high else f"{one.low * 100:.1f} to {one.high:.1%}"]
        for text, one in funnel.rows(summary["kind"], rates)
    ]
    return table([f"of {summary['images']} attempted", "rate", "95% interval"], lines)


def sweep_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """A row for each job of a sweep.

    Args:
        columns: swept key or rate → heading.
    """
    return table(list(columns.values()), [[_cell(one, key) for key in columns] for one in rows])


def origins_table(records: Mapping[str, Record | None]) -> str:
    """Which commit made each result, when, in what time and on which machine."""
    rows = [
        [name, "not measured", "", "", ""]
        if record is None
        else [
            name,
            record.commit,
            record.date[:10],
            took(record),
            record.machine,
        ]
        for name, record in records.items()
    ]
    return table(["result", "commit", "date", "took", "machine"], rows)


def faults_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What `tests/faults.py` found."""
    kinds = ("lost", "mixed", "traceback", "other")
    header = ["fault", "tried", "survived", *kinds]
    lines = [[one["fault"], one["tried"], one["survived"], *(one["kinds"][kind] for kind in kinds)] for one in rows]
    return table(header, [[str(cell) for cell in line] for line in lines])


def _value(one: Mapping[str, Any], key: str) -> Any:
    (found,) = [name for name in one if name.rpartition(".")[2] == key]
    return one[found]


def _cell(one: Mapping[str, Any], key: str) -> str:
    if f"{key}_low" in one:
        return rate(one, key)
    return str(one[key]) if isinstance(one[key], str | int) else number(one[key])


FILTERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        rate,
        percent,
        number,
        duration,
        took,
        row,
        funnel_table,
        sweep_table,
        cases_table,
        device_table,
        faults_table,
        origins_table,
    )
}
