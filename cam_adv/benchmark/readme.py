"""Tables of the benchmark in Markdown, and their place in a README."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cam_adv.errors import UserError
from cam_adv.runtime.atomic_files import write_atomically


def cases_table(rows: Sequence[Mapping[str, Any]], matmul_rate: float) -> str:
    """The rows of `benchmark.json`.

    Args:
        matmul_rate: of the machine, in FLOP/s.
    """
    header = ["case", "baseline", "ours", "ratio", "target", f"share of {matmul_rate / 1e9:.0f} GFLOP/s"]
    return _table(header, [_case(row) for row in rows])


def device_table(figures: Sequence[Mapping[str, Any]], name: str) -> str:
    """The figures of `benchmark_gpu.json`, measured on the device `name`."""
    return _table([name, ""], [[one["name"], f"{one['value']:.4g} {one['unit']}".strip()] for one in figures])


def check_place(readme: Path, place: str) -> None:
    """See `write_into`, before something is measured.

    Raises:
        UserError: the README has no such place.
    """
    _around(readme, place)


def write_into(readme: Path, place: str, table: str) -> None:
    """Replace what stands between `<!-- place -->` and `<!-- /place -->`.

    Raises:
        UserError: the README has no such place.
    """
    before, after = _around(readme, place)
    write_atomically(readme, f"{before}\n{table}{after}")


def _around(readme: Path, place: str) -> tuple[str, str]:
    """The text up to a place with its first line, and from its last line on."""
    begin, end = f"<!-- {place} -->", f"<!-- /{place} -->"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise UserError(f"{readme} has no place {begin} … {end}.", "Write both lines where the table belongs.")
    return before + begin, end + after


def _case(row: Mapping[str, Any]) -> list[str]:
    ratio = f"{row['speedup']:.3g}"
    if row["low"] != row["high"]:
        ratio += f" ({row['low']:.3g} to {row['high']:.3g})"
    target = "" if row["target_speedup"] is None else f"{row['target_speedup']:.3g}"
    share = "" if row["share_of_matmul_rate"] is None else f"{row['share_of_matmul_rate']:.0%}"
    return [row["case"], row["baseline"], f"{row['ours']:.3g} {row['unit']}", ratio, target, share]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
