"""Curves: quartiles of the attack's terms, and the models' training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cam_adv.plots import curves
from cam_adv.plots.save import save_figure


class TestCurves:
    def test_terms_median_and_band_match_numpy_percentiles(self) -> None:
        term = torch.randn(9, 5, generator=torch.Generator().manual_seed(4))
        term[:4, 2], term[:, 4] = float("nan"), float("nan")
        steps = torch.tensor([0, 10, 20, 30, 40])
        figure = curves.terms_figure(steps, {"J1 victim": term, "k": term + 1}, "terms")
        first, second = figure.axes
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["J1 victim", "k"]
        assert first.get_xlabel() == "attack step"
        (line,), (band,) = first.lines, first.collections
        expected = np.nanpercentile(term[:, :4].numpy(), [25, 50, 75], axis=0)
        assert np.array_equal(line.get_xdata(), steps.numpy())
        assert np.allclose(line.get_ydata()[:4], expected[1])
        assert np.isnan(line.get_ydata()[4])
        assert np.allclose(second.lines[0].get_ydata()[:4], expected[1] + 1)
        corners = band.get_paths()[0].vertices
        assert corners[:, 1].min() == pytest.approx(expected[0].min())
        assert corners[:, 1].max() == pytest.approx(expected[2].max())
        for at, low, high in zip(steps.tolist(), expected[0], expected[2], strict=False):
            heights = corners[corners[:, 0] == at, 1]
            assert (heights.min(), heights.max()) == pytest.approx((low, high))

    def test_training_has_one_panel_per_model_with_its_curves(self) -> None:
        epochs = [0, 1, 2]
        figure = curves.training_figure(
            {
                "victim": {"loss": (epochs, [2.0, 1.0, 0.5]), "accuracy": (epochs, [0.1, 0.6, 0.9])},
                "generator": {"reconstruction": (epochs, [900.0, 20.0, 3.0])},
            }
        )
        victim, generator = figure.axes
        assert {line.get_label(): list(line.get_ydata()) for line in victim.lines} == {
            "loss": [2.0, 1.0, 0.5],
            "accuracy": [0.1, 0.6, 0.9],
        }
        assert [text.get_text() for text in victim.get_legend().get_texts()] == ["loss", "accuracy"]
        assert (victim.get_yscale(), generator.get_yscale()) == ("linear", "log")

    def test_draw_writes_images_that_are_not_blank(self, tmp_path: Path) -> None:
        save_figure(curves.terms_figure(torch.arange(3), {"norm": torch.ones(2, 3)}, "terms"), tmp_path / "terms.png")
        save_figure(curves.training_figure({"victim": {"loss": ([0], [1.0])}}), tmp_path / "training.png")
        for name in ("terms.png", "training.png"):
            assert len(np.unique(np.asarray(Image.open(tmp_path / name).convert("L")))) > 10

    def test_no_curves_raises(self) -> None:
        with pytest.raises(ValueError, match="curve"):
            curves.training_figure({})
