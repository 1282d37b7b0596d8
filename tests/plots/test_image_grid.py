"""The grid of image pairs: its layout, pixels, texts and frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from PIL import Image

from cam_adv.data.human_labels import NOTHING
from cam_adv.plots import image_grid
from cam_adv.plots.save import save_figure

NAMES = [str(digit) for digit in range(10)]


class TestImageGrid:
    @staticmethod
    def arguments(count: int) -> dict:
        gen = torch.Generator().manual_seed(3)
        return {
            "x": torch.rand(count, 1, 28, 28, generator=gen),
            "x_adv": torch.rand(count, 1, 28, 28, generator=gen),
            "y": torch.full((count,), 7),
            "target": torch.full((count,), 9),
            "victim_label": torch.full((count,), 7),
            "victim_confidence": torch.full((count,), 0.97),
            "judge_reads": torch.tensor([9, NOTHING] * count)[:count],
            "success": torch.tensor([True, False] * count)[:count],
            "class_names": NAMES,
        }

    @pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (8, 1, 8), (11, 2, 8)])
    def test_grid_has_all_pairs_eight_per_row(self, count: int, rows: int, columns: int) -> None:
        (axes,) = image_grid.image_grid_figure(**self.arguments(count)).axes
        places = [image.get_extent() for image in axes.images]
        assert len(places) == count
        assert len({round(place[3], 6) for place in places}) == rows
        assert len({round(place[0], 6) for place in places}) == columns

    def test_pair_shows_x_beside_x_adv(self) -> None:
        arguments = self.arguments(2)
        pixels = image_grid.image_grid_figure(**arguments).axes[0].images[1].get_array()
        assert pixels.shape == (28, 58)
        assert np.array_equal(pixels[:, :28], arguments["x"][1, 0].numpy())
        assert np.array_equal(pixels[:, -28:], arguments["x_adv"][1, 0].numpy())

    def test_residual_stands_between_with_the_generated_image(self) -> None:
        """x | G(z) | δ × 3 | x': a residual of 0.1 is drawn 0.3 lighter than middle gray."""
        arguments = self.arguments(5)
        arguments["generated"] = (arguments["x_adv"] - 0.1).clone()
        (axes,) = image_grid.image_grid_figure(**arguments).axes
        assert len({round(image.get_extent()[0], 6) for image in axes.images}) == 4  # half as many in a row
        pixels = axes.images[3].get_array()
        assert pixels.shape == (28, 4 * 28 + 3 * 2)
        shown = [arguments["x"], arguments["generated"], torch.full((5, 1, 28, 28), 0.8), arguments["x_adv"]]
        for place, images in enumerate(shown):
            found = pixels[:, place * 30 : place * 30 + 28]
            np.testing.assert_allclose(found, images[3, 0].clamp(0, 1).numpy(), atol=1e-6)
        note = axes.texts[0].get_text()
        assert note.startswith("x | G(z) | δ × 3 | x'. f1: the victim.")

    def test_without_residual_the_note_names_x_and_x_adv(self) -> None:
        note = image_grid.image_grid_figure(**self.arguments(1)).axes[0].texts[0].get_text()
        assert note.startswith("x | x'. f1: the victim.")

    def test_sample_is_called_so_and_has_its_class_first(self) -> None:
        figure = image_grid.image_grid_figure(**self.arguments(2), from_samples=True)
        note, first, _ = (text.get_text() for text in figure.axes[0].texts)
        assert note.startswith("sample of y', which the victim must call y | x'. f1: the victim.")
        assert first == "✓ 9 as 7  f1 [7] .97\njudge [9]"

    def test_texts_and_frames_distinguish_success_from_failure(self) -> None:
        (axes,) = image_grid.image_grid_figure(**self.arguments(2)).axes
        assert [text.get_text() for text in axes.texts[1:]] == [
            "✓ 7→9  f1 [7] .97\njudge [9]",
            "✗ 7→9  f1 [7] .97\njudge [nothing]",
        ]
        success, failure = axes.patches
        assert success.get_linestyle() in ("-", "solid")
        assert failure.get_linestyle() not in ("-", "solid")
        assert not same_color(success.get_edgecolor(), failure.get_edgecolor())

    def test_no_pairs_raises(self) -> None:
        with pytest.raises(ValueError, match="pair"):
            image_grid.image_grid_figure(**self.arguments(0))

    def test_tensors_of_unequal_length_raise(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            image_grid.image_grid_figure(**(self.arguments(3) | {"success": torch.tensor([True])}))

    def test_saved_image_grid_is_an_image(self, tmp_path: Path) -> None:
        save_figure(image_grid.image_grid_figure(**self.arguments(3)), tmp_path / "grid.png")
        with Image.open(tmp_path / "grid.png") as drawn:
            assert drawn.width > drawn.height
