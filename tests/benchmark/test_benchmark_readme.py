"""The tables of the benchmark in a README."""

from pathlib import Path
from typing import Any

import pytest

from cam_adv.benchmark.readme import cases_table, device_table, write_into
from cam_adv.errors import UserError

ROW: dict[str, Any] = {
    "case": "PGD",
    "baseline": "ART",
    "ours": 5.512,
    "unit": "s",
    "speedup": 1.149,
    "low": 1.1,
    "high": 1.2,
    "target_speedup": 1.0,
    "share_of_matmul_rate": 0.291,
}


def test_cases_table_by_hand() -> None:
    once = ROW | {"low": 1.149, "high": 1.149, "target_speedup": None, "share_of_matmul_rate": None}
    assert cases_table([ROW, once], 177.4e9).splitlines() == [
        "| case | baseline | ours | ratio | target | share of 177 GFLOP/s |",
        "| --- | --- | --- | --- | --- | --- |",
        "| PGD | ART | 5.51 s | 1.15 (1.1 to 1.2) | 1 | 29% |",
        "| PGD | ART | 5.51 s | 1.15 |  |  |",
    ]


def test_table_replaces_what_stood_in_its_place_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        "a\n<!-- benchmark -->\nold\n<!-- /benchmark -->\nb <!-- benchmark gpu --><!-- /benchmark gpu -->\n"
    )
    write_into(readme, "benchmark gpu", device_table([{"name": "step", "value": 1.0984, "unit": "ms"}], "GPU"))
    write_into(readme, "benchmark", "new\n")
    assert readme.read_text().splitlines() == [
        "a",
        "<!-- benchmark -->",
        "new",
        "<!-- /benchmark -->",
        "b <!-- benchmark gpu -->",
        "| GPU |  |",
        "| --- | --- |",
        "| step | 1.098 ms |",
        "<!-- /benchmark gpu -->",
    ]


def test_readme_without_the_place_is_refused_and_left(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("<!-- benchmark -->")
    with pytest.raises(UserError, match="has no place <!-- benchmark --> … <!-- /benchmark -->"):
        write_into(readme, "benchmark", "new\n")
    assert readme.read_text() == "<!-- benchmark -->"
