"""The sheet of robust interpretations: a map where there is one, two redrawn images where there is none."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cam_adv.plots.interpretation import ShownExplanation, interpretation_figure
from cam_adv.plots.save import save_figure

COUNT = 3


def shown(abstained: list[bool], channels: int = 1) -> ShownExplanation:
    """Images of level 0.1, redrawn at 0.5 and 0.9; the largest magnitude of the maps that are shown is 4."""
    mask = torch.tensor(abstained)
    maps = torch.full((COUNT, 2, 2), -4.0)
    maps[mask] = torch.nan
    levels = (torch.full((COUNT, channels, 8, 6), level) for level in (0.1, 0.5, 0.9))
    images, as_label, as_target = levels
    return ShownExplanation(images, maps, mask, as_label, as_target)


def drawn(figure_axes_images: list, level: float) -> int:
    """How many images of this level there are."""
    arrays: list[Tensor] = [torch.as_tensor(np.asarray(one.get_array())) for one in figure_axes_images]
    return sum(bool(torch.isclose(array.double(), torch.tensor(level).double()).all()) for array in arrays)


@pytest.mark.parametrize("channels", [1, 3])
def test_sheet_shows_maps_or_redrawn_images(channels: int, tmp_path: Path) -> None:
    x, x_adv = shown([False, False, True], channels), shown([True, True, False], channels)
    y, target = torch.tensor([0, 1, 0]), torch.tensor([1, 0, 1])
    figure = interpretation_figure(x, x_adv, y, target, ["a", "$b"])
    images = figure.axes[0].images
    assert [drawn(images, level) for level in (0.1, 0.5, 0.9)] == [6, 3, 3]
    maps = [one for one in images if one.get_clim() == (-4, 4)]
    assert len(maps) == 3
    texts = Counter(text.get_text() for text in figure.axes[0].texts)
    assert (texts["map"], texts["as a"], texts["as $b"]) == (3, 3, 3)
    assert (texts["x: a→$b"], texts["x': $b→a"]) == (2, 1)
    save_figure(figure, tmp_path / "interpretation.png")


def test_sheet_without_any_map_is_drawn(tmp_path: Path) -> None:
    nothing = shown([True] * COUNT)
    labels = torch.zeros(COUNT, dtype=torch.long)
    figure = interpretation_figure(nothing, nothing, labels, 1 - labels, ["a", "b"])
    assert [drawn(figure.axes[0].images, level) for level in (0.1, 0.5, 0.9)] == [6, 6, 6]
    save_figure(figure, tmp_path / "interpretation.png")
