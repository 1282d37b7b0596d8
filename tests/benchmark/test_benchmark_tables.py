"""The tables of the benchmark, by hand."""

from typing import Any

from cam_adv.benchmark.tables import cases_table, device_table

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
    assert cases_table({"matmul_rate": 177.4e9, "cases": [ROW, once]}).splitlines() == [
        "| case | baseline | ours | ratio | target | share of 177 GFLOP/s |",
        "| --- | --- | --- | --- | --- | --- |",
        "| PGD | ART | 5.51 s | 1.15 (1.1 to 1.2) | 1 | 29% |",
        "| PGD | ART | 5.51 s | 1.15 |  |  |",
    ]


def test_device_table_by_hand() -> None:
    results = {"device": "GPU", "torch": "2.6", "figures": [{"name": "step", "value": 1.0984, "unit": "ms"}]}
    assert device_table(results).splitlines() == ["| GPU, torch 2.6 |  |", "| --- | --- |", "| step | 1.098 ms |"]
