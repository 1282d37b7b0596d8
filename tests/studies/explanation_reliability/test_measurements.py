"""Measurements on disk."""

import math
from pathlib import Path

import torch

from cam_adv.studies.explanation_reliability.measurements import Measurements, load_measurements, save_measurements


def test_load_measurements_returns_what_was_saved_in_order(tmp_path: Path) -> None:
    measurements = {
        "b": Measurements(
            {"z /1": torch.tensor([1.0, math.nan]), "a": torch.tensor([3, 4])}, {}, {"y": torch.ones(2)}
        ),
        "a": Measurements({"image": torch.empty(0)}, {"null": torch.empty(0, 5, dtype=torch.float64)}, {}),
    }
    save_measurements(measurements, tmp_path / "measurements.safetensors")
    found = load_measurements(tmp_path / "measurements.safetensors")
    assert list(found) == ["b", "a"]
    for name, measured in measurements.items():
        for part, table in vars(measured).items():
            read = getattr(found[name], part)
            assert list(read) == list(table)
            for column, values in table.items():
                assert read[column].dtype == values.dtype
                assert torch.equal(read[column].nan_to_num(7), values.nan_to_num(7))


def test_save_measurements_writes_equal_rows_once(tmp_path: Path) -> None:
    """The null distribution is the same for all pairs of a victim, and would fill the disk."""
    null = torch.arange(999.0).expand(400, 999)
    table = {"victim": torch.zeros(400), "null": null}
    save_measurements({"cam": Measurements({}, table, {})}, tmp_path / "measurements.safetensors")
    assert (tmp_path / "measurements.safetensors").stat().st_size < 10_000
    found = load_measurements(tmp_path / "measurements.safetensors")["cam"].pairs["null"]
    assert torch.equal(found, null)
    assert found.stride(0) == 0
