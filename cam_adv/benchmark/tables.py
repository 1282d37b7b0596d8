"""Tables of the benchmark in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any


def cases_table(results: Mapping[str, Any]) -> str:
    """What `benchmark.json` holds."""
    header = ["case", "baseline", "ours", "ratio", "target", f"share of {results['matmul_rate'] / 1e9:.0f} GFLOP/s"]
    return table(header, [_case(row) for row in results["cases"]])


def device_table(results: Mapping[str, Any]) -> str:
    """What `benchmark_gpu.json` holds."""
    rows = [[one["name"], f"{one['value']:.4g} {one['unit']}".strip()] for one in results["figures"]]
    return table([f"{results['device']}, torch {results['torch']}", ""], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _case(row: Mapping[str, Any]) -> list[str]:
    ratio = f"{row['speedup']:.3g}"
    if row["low"] != row["high"]:
        ratio += f" ({row['low']:.3g} to {row['high']:.3g})"
    target = "" if row["target_speedup"] is None else f"{row['target_speedup']:.3g}"
    share = "" if row["share_of_matmul_rate"] is None else f"{row['share_of_matmul_rate']:.0%}"
    return [row["case"], row["baseline"], f"{row['ours']:.3g} {row['unit']}", ratio, target, share]
