"""Trajectories with known path lengths, and their curves on a common axis."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from cam_adv.studies.explanation_reliability.trajectory import Trajectory
from cam_adv.studies.explanation_reliability.trajectory_report import (
    attributions_figure,
    dissimilarity_at,
    trajectories_figure,
    write_trajectories,
)


def make_trajectory(path_length: list[float], dissimilarity: list[float], crossing: float | None) -> Trajectory:
    count = len(path_length)
    generator = torch.Generator().manual_seed(0)
    return Trajectory(
        x=torch.zeros(1, 4, 4),
        y=7,
        target=0,
        frames=torch.rand(count, 1, 4, 4, generator=generator),
        captions=[f"step {number}" for number in range(count)],
        path_length=torch.tensor(path_length),
        judge_crossing=crossing,
        victim_probs=torch.full((count,), 0.9),
        judge_probs=torch.full((count,), 0.8),
        maps={"cam": torch.rand(1 + count, 2, 2, generator=generator)},
        dissimilarities={"cam": torch.tensor(dissimilarity)},
    )


def test_dissimilarity_at_interpolates_between_frames_and_is_nan_outside() -> None:
    trajectory = make_trajectory([0.0, 2.0, 4.0], [0.0, 1.0, 0.0], 2.0)
    found = dissimilarity_at(trajectory, "cam", 2.0, np.array([-3.0, -2, -1, 0, 2, 3]))
    assert found[1:5].tolist() == pytest.approx([0, 0.5, 1, 0])
    assert np.isnan(found[[0, 5]]).all()


def test_trajectories_figure_right_panel_is_aligned_at_the_crossing() -> None:
    trajectories = [
        make_trajectory([0.0, 2.0], [0.0, 1.0], 1.0),
        make_trajectory([0.0, 4.0], [0.0, 1.0], 3.0),
        make_trajectory([0.0, 1.0], [0.0, 0.0], None),
    ]
    left, right = trajectories_figure(trajectories).axes
    (curve,) = [line for line in right.lines if line.get_label() == "cam"]
    positions, medians = curve.get_xdata(), curve.get_ydata()
    assert positions.min() == pytest.approx(-3, abs=0.1)
    assert np.interp(0, positions, medians) == pytest.approx((0.5 + 0.75) / 2, abs=0.02)
    assert left.lines[0].get_xdata().max() < 2.1  # at least half of three images must reach a position


def test_attributions_figure_has_a_row_for_each_method() -> None:
    trajectory = make_trajectory([0.0, 1.0, 2.0], [0.0, 1.0, 1.0], None)
    figure = attributions_figure(trajectory, [str(digit) for digit in range(10)])
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()] == ["cam"]
    assert figure.axes[1].get_title() == "step 0\n7: 0.900"
    assert "From 7 to 0" in figure.get_suptitle()


def test_write_trajectories_one_line_per_frame(tmp_path: Path) -> None:
    trajectories = [
        make_trajectory([0.0, 2.0], [0.0, 1.0], 0.5),
        make_trajectory([0.0, 3.0], [0.0, 0.25], None),
    ]
    write_trajectories(trajectories, tmp_path / "trajectories.csv")
    with (tmp_path / "trajectories.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["past_judge_crossing"] for line in lines] == ["-0.5000", "1.5000", "", ""]
    assert [line["map_dissimilarity_cam"] for line in lines] == ["0.000000", "1.000000", "0.000000", "0.250000"]
    assert lines[3] == {
        "image": "1",
        "y": "7",
        "target": "0",
        "frame": "1",
        "path_length": "3.0000",
        "past_judge_crossing": "",
        "victim_y": "0.900000",
        "judge_target": "0.800000",
        "map_dissimilarity_cam": "0.250000",
    }


def test_write_trajectories_without_successes_writes_the_header(tmp_path: Path) -> None:
    write_trajectories([], tmp_path / "trajectories.csv")
    text = (tmp_path / "trajectories.csv").read_text()
    assert text.splitlines() == ["image,y,target,frame,path_length,past_judge_crossing,victim_y,judge_target"]
