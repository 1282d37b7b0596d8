"""The matrix of success rates: its texts, colours and labels."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from cam_adv.plots import matrix
from cam_adv.plots.save import save_figure


class TestMatrix:
    SUCCESSES = torch.tensor([[5, 3, 1], [4, 5, 0], [0, 1, 5]])
    ATTEMPTS = torch.tensor([[5, 4, 2], [4, 5, 0], [3, 8, 5]])

    def figure(self) -> Figure:
        return matrix.matrix_figure(self.SUCCESSES, self.ATTEMPTS, ["a", "b", "c"], "rates")

    def test_texts_match_rates_computed_by_hand(self) -> None:
        texts = {text.get_position()[::-1]: text.get_text() for text in self.figure().axes[0].texts}
        assert texts == {
            (0, 1): "75%\nn=4",
            (0, 2): "50%\nn=2",
            (1, 0): "100%\nn=4",
            (2, 0): "0%\nn=3",
            (2, 1): "12%\nn=8",
            # The totals pool their row or column without the diagonal: 4/6, 4/4, 1/11; 4/7, 4/12, 1/2; 9/21.
            (0, 3): "67%\nn=6",
            (1, 3): "100%\nn=4",
            (2, 3): "9%\nn=11",
            (3, 0): "57%\nn=7",
            (3, 1): "33%\nn=12",
            (3, 2): "50%\nn=2",
            (3, 3): "43%\nn=21",
        }

    def test_colour_scale_is_unit_interval_and_empty_cells_are_nan(self) -> None:
        (image,) = self.figure().axes[0].images
        assert image.get_clim() == (0, 1)
        rates = np.ma.filled(np.ma.asarray(image.get_array()), np.nan)
        assert rates[0, 1] == 0.75
        assert np.isnan(rates[[0, 1, 2, 1], [0, 1, 2, 2]]).all()

    def test_axes_have_class_names(self) -> None:
        axes = self.figure().axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c", "all"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "all"]
        assert axes.get_title(loc="left") == "rates"
        assert (axes.get_ylabel(), axes.get_xlabel()) == ("source class y", "target class y′")

    def test_axes_have_the_labels_given(self) -> None:
        figure = matrix.matrix_figure(self.SUCCESSES, self.ATTEMPTS, ["a", "b", "c"], "rates", "to say", "to show")
        assert (figure.axes[0].get_ylabel(), figure.axes[0].get_xlabel()) == ("to say", "to show")

    def test_many_classes_have_no_texts(self, tmp_path: Path) -> None:
        counts = torch.ones(40, 40, dtype=torch.long)
        figure = matrix.matrix_figure(counts, counts, [f"class {i}" for i in range(40)], "")
        assert len(figure.axes[0].texts) == 0
        assert figure.get_figwidth() < 12
        save_figure(matrix.matrix_figure(self.SUCCESSES, self.ATTEMPTS, ["a", "b", "c"], ""), tmp_path / "matrix.png")
        assert Image.open(tmp_path / "matrix.png").format == "PNG"
