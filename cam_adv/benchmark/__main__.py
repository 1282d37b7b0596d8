"""The command `python -m cam_adv.benchmark`: a table, and `benchmark.json` in the folder where it is started."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cam_adv.benchmark.clever import clever_of_gap_cnn, clever_of_mlp
from cam_adv.benchmark.comparison import Comparison
from cam_adv.benchmark.maps import cam_beside_forward
from cam_adv.errors import UserError
from cam_adv.writing import write_whole

REPEATS = 30
CASES = (cam_beside_forward, clever_of_mlp, clever_of_gap_cnn)


def main() -> None:
    """Time every case; one that stands beside something that isn't installed says so."""
    lines = []
    for case in CASES:
        try:
            lines.append(case(REPEATS))
        except UserError as error:
            print(f"{case.__name__}: {error.what} {error.remedy}")
    write_whole(Path("benchmark.json"), json.dumps([asdict(line) for line in lines], indent=2) + "\n")
    Console().print(_table(lines))


def _table(lines: list[Comparison]) -> Table:
    table = Table(title="benchmark", title_justify="left", title_style="bold")
    for name in ("case", "ours", "beside", "other", "ratio", "80% of ratios", "at most"):
        table.add_column(name)
    for line in lines:
        spread = f"{line.low:.3g} to {line.high:.3g}"
        ours, other = (f"{value:.3g} {line.unit}" for value in (line.ours, line.other))
        table.add_row(line.case, ours, line.beside, other, f"{line.ratio:.3g}", spread, f"{line.limit:g}")
    return table


if __name__ == "__main__":
    main()
