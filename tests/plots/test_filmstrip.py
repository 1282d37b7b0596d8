"""Filmstrips and animations: their texts, colour scales and images are read back from the figures and files."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image, ImageSequence

from cam_adv.data.human_labels import NOTHING
from cam_adv.plots import animation, filmstrip
from cam_adv.plots.filmstrip import Frame
from cam_adv.plots.save import save_figure

NAMES = [str(digit) for digit in range(10)]
CAM = torch.tensor([[1.0, -3.0], [0.5, 0.0]])


def frame(**changes: object) -> Frame:
    """A frame of the trajectory from 7 to 9 that both networks still predict as 7."""
    values = {
        "image": torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0)),
        "cam": CAM,
        "victim_label": 7,
        "victim_confidence": 0.9961,
        "judge_label": 7,
        "judge_confidence": 0.977,
        "caption": "x",
    }
    return Frame(**(values | changes))


def overlays(figure: Figure) -> list[Artist]:
    """The CAM artists of a figure, left to right."""
    return [image for axes in figure.axes for image in axes.images if image.get_cmap().name == "RdBu_r"]


def grays(figure: Figure) -> list[Artist]:
    """The artists of images and of enlarged residuals in a filmstrip, without the dimmed ones below the CAMs."""
    dimmed = {tuple(artist.get_extent()) for artist in overlays(figure)}
    images = [image for image in figure.axes[0].images if image.get_cmap().name == "gray"]
    return [image for image in images if tuple(image.get_extent()) not in dimmed]


def texts(figure: Figure) -> dict[str, list[Text]]:
    """The texts of a filmstrip by what they say, left to right."""
    found: dict[str, list[Text]] = {}
    for text in figure.axes[0].texts:
        found.setdefault(text.get_text(), []).append(text)
    return found


def frame_widths(figure: Figure) -> list[float]:
    """The line widths of the frames, column by column."""
    return [patch.get_linewidth() for patch in figure.axes[0].patches]


class TestCamScale:
    @pytest.mark.parametrize(
        ("cams", "scale"),
        [
            ([[[1.0, -3.0]], [[2.0, 0.5]]], 3.0),
            ([[[-0.25, -0.5]]], 0.5),
            ([[[0.0, 0.0]], [[4.0, 1.0]]], 4.0),
            ([[[0.0, 0.0]]], 1.0),
        ],
    )
    def test_cam_scale_is_largest_magnitude_of_all_maps(self, cams: list, scale: float) -> None:
        assert filmstrip.cam_scale([torch.tensor(cam) for cam in cams]) == scale

    @pytest.mark.parametrize("cams", [[], [torch.tensor([[float("nan"), 1.0]])], [torch.tensor([[-torch.inf]])]])
    def test_cam_scale_without_finite_maps_raises(self, cams: list) -> None:
        with pytest.raises(ValueError, match="CAM"):
            filmstrip.cam_scale(cams)


class TestUpsampleCam:
    @pytest.mark.parametrize("size", [(28, 28), (21, 14), (7, 7), (126, 7)])
    def test_upsample_cam_preserves_mean(self, size: tuple[int, int]) -> None:
        cam = torch.randn(7, 7, generator=torch.Generator().manual_seed(1)) - 2
        large = filmstrip.upsample_cam(cam, size)
        assert large.shape == size
        assert float(large.mean()) == pytest.approx(float(cam.mean()), abs=1e-5)

    def test_upsample_cam_is_bilinear_between_cell_centres(self) -> None:
        assert filmstrip.upsample_cam(torch.tensor([[0.0, 4.0]]), (1, 4)).tolist() == [[0.0, 1.0, 3.0, 4.0]]


def test_enlarged_residual_by_hand() -> None:
    """0 is middle gray, 0.1 three times as far from it, and what is farther than 1/6 is cut off."""
    residual = torch.tensor([0.0, 0.1, -0.1, 1 / 6, 0.4, -1.0]).reshape(1, 2, 3)
    expected = torch.tensor([0.5, 0.8, 0.2, 1.0, 1.0, 0.0]).reshape(1, 2, 3)
    torch.testing.assert_close(filmstrip.enlarged_residual(residual), expected)


class TestFilmstrip:
    def test_frames_have_predictions_of_victim_and_judge(self) -> None:
        later = frame(judge_label=9, judge_confidence=0.5, victim_confidence=1.0, caption="x'")
        found = texts(filmstrip.filmstrip_figure([frame(cam=None), later], "7 → 9", NAMES))
        first, second = ("x", "[7] 0.996", "judge [7] 0.98"), ("x'", "[7] 1.000", "judge [9] 0.50")
        columns = [{found[text][0].get_position()[0] for text in own} for own in (first, second)]
        assert [len(places) for places in columns] == [1, 1]
        assert max(columns[0]) < min(columns[1])
        assert "7 → 9" in found

    def test_texts_use_class_names(self) -> None:
        figure = filmstrip.filmstrip_figure([frame(victim_label=1)], "", ["cat", "dog", *NAMES])
        assert "[dog] 0.996" in texts(figure)

    def test_cams_share_one_symmetric_scale(self) -> None:
        figure = filmstrip.filmstrip_figure([frame(), frame(cam=CAM / 100), frame(cam=-2 * CAM)], "", NAMES)
        assert [artist.get_clim() for artist in overlays(figure)] == [(-6.0, 6.0)] * 3

    def test_cams_are_drawn_without_normalisation(self) -> None:
        (artist,) = overlays(filmstrip.filmstrip_figure([frame()], "", NAMES))
        assert torch.equal(torch.tensor(artist.get_array()), filmstrip.upsample_cam(CAM, (8, 8)))

    def test_frame_without_cam_leaves_its_column_empty(self) -> None:
        figure = filmstrip.filmstrip_figure([frame(), frame(cam=None), frame()], "", NAMES)
        lefts = [artist.get_extent()[0] for artist in overlays(figure)]
        images = [artist.get_extent()[0] for artist in grays(figure)]
        assert len(images) == 3
        assert lefts == pytest.approx([images[0], images[2]])

    def test_no_cam_at_all_omits_the_row_of_cams(self) -> None:
        figure = filmstrip.filmstrip_figure([frame(cam=None), frame(cam=None)], "", NAMES)
        assert len(figure.axes) == 1
        assert len(figure.axes[0].images) == 2
        assert overlays(figure) == []

    def test_only_disagreeing_frame_is_highlighted(self) -> None:
        figure = filmstrip.filmstrip_figure([frame(cam=None), frame(cam=None, judge_label=9)], "", NAMES)
        agreeing, disagreeing = texts(figure)["[7] 0.996"]
        assert same_color(agreeing.get_color(), "black")
        assert same_color(disagreeing.get_color(), filmstrip.DISAGREEMENT_COLOR)
        thin, bold = frame_widths(figure)
        assert bold > 2 * thin
        assert filmstrip.NOTE in texts(figure)

    def test_note_is_there_only_if_a_frame_disagrees(self) -> None:
        agreeing = filmstrip.filmstrip_figure([frame(), frame()], "", NAMES)
        assert filmstrip.NOTE not in texts(agreeing)

    def test_frame_that_the_judge_cannot_read_says_so_and_is_highlighted(self) -> None:
        """Without a confidence, which would be that of a class."""
        unread = frame(judge_label=NOTHING, judge_confidence=0.99)
        assert unread.disagrees
        found = texts(filmstrip.filmstrip_figure([frame(), unread], "", NAMES))
        (agreeing,), (disagreeing,) = found["judge [7] 0.98"], found["judge [nothing]"]
        assert same_color(agreeing.get_color(), "black")
        assert same_color(disagreeing.get_color(), filmstrip.DISAGREEMENT_COLOR)

    def test_images_are_drawn_with_their_values(self) -> None:
        colour = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(2))
        gray = frame()
        figure = filmstrip.filmstrip_figure([gray, frame(image=colour)], "", NAMES)
        first, second = grays(figure)
        assert (first.get_clim(), first.get_cmap().name) == ((0, 1), "gray")
        assert np.array_equal(first.get_array(), gray.image[0].numpy())
        assert np.array_equal(second.get_array(), colour.permute(1, 2, 0).numpy())

    @pytest.mark.parametrize("cam", [CAM, None])
    def test_residual_gives_a_row_of_generated_images_and_one_of_residuals(self, cam: torch.Tensor | None) -> None:
        """x has neither; the other frames have G(z) and δ below their image, above the CAM."""
        first, second = (torch.full((1, 8, 8), level) for level in (0.4, 0.5))
        shown = [frame(cam=cam)] + [frame(cam=cam, image=second, generated=one) for one in (first, second)]
        figure = filmstrip.filmstrip_figure(shown, "", NAMES)
        by_column: dict[float, list[float]] = {}
        for artist in sorted(grays(figure), key=lambda one: one.get_extent()[3]):
            pixel = float(artist.get_array()[0, 0])
            by_column.setdefault(round(artist.get_extent()[0], 6), []).append(pixel)
        x, *others = (by_column[left] for left in sorted(by_column))
        assert len(x) == 1
        assert others == [
            pytest.approx([0.5, 0.4, 0.5 + filmstrip.RESIDUAL_GAIN * 0.1]),
            pytest.approx([0.5, 0.5, 0.5]),
        ]
        rows = ["victim", "G(z)", "δ × 3", *(["CAM"] if cam is not None else [])]
        places = {text: of[0].get_position()[1] for text, of in texts(figure).items() if text in rows}
        assert sorted(places, key=lambda name: places[name]) == rows  # inches from above
        lowest = max(artist.get_extent()[2] for artist in grays(figure))
        for overlay in overlays(figure):
            assert overlay.get_extent()[3] > lowest

    def test_frames_without_residual_have_no_rows_for_it(self) -> None:
        figure = filmstrip.filmstrip_figure([frame(), frame()], "", NAMES)
        assert {"victim", "G(z)", "δ × 3", "CAM"} & texts(figure).keys() == {"victim", "CAM"}

    def test_twelve_frames_have_no_overlapping_texts(self) -> None:
        names = ["automobile"] * 10
        figure = filmstrip.filmstrip_figure([frame(judge_label=9, caption="step 120")] * 12, "a heading", names)
        figure.draw_without_rendering()
        for row in ("[automobile] 0.996", "judge [automobile] 0.98", "step 120"):
            own = texts(figure)[row]
            assert len(own) == 12
            assert all(a.get_window_extent().x1 < b.get_window_extent().x0 for a, b in pairwise(own))

    def test_filmstrip_figure_accepts_tensors_with_gradients(self, tmp_path: Path) -> None:
        image, cam = torch.rand(1, 8, 8, requires_grad=True), CAM.clone().requires_grad_()
        save_figure(filmstrip.filmstrip_figure([frame(image=image, cam=cam)], "", NAMES), tmp_path / "strip.png")
        with Image.open(tmp_path / "strip.png") as drawn:
            assert drawn.width > 200

    def test_no_frames_raises(self) -> None:
        with pytest.raises(ValueError, match="frame"):
            filmstrip.filmstrip_figure([], "", NAMES)


class TestAnimation:
    @staticmethod
    def read(path: Path) -> tuple[list[int], list[np.ndarray]]:
        with Image.open(path) as gif:
            frames = [(f.info["duration"], np.array(f.convert("RGB"))) for f in ImageSequence.Iterator(gif)]
        return [duration for duration, _ in frames], [pixels for _, pixels in frames]

    def test_gif_has_each_frame_with_its_duration(self, tmp_path: Path) -> None:
        # Equal frames, too: each has its duration, although Pillow would merge two equal images into one.
        frames = [frame(), frame(), frame(image=torch.zeros(1, 8, 8))]
        animation.write_gif(frames, NAMES, tmp_path / "trace.gif", 120)
        durations, images = self.read(tmp_path / "trace.gif")
        assert durations == [120, 120, 120 * animation.LAST_FRAME_HOLD]
        height, width = images[0].shape[:2]
        assert 480 <= width <= 640
        left = [pixels[: height // 2, : width // 2] for pixels in images]
        assert np.array_equal(left[0], left[1])
        assert not np.array_equal(left[1], left[2])

    def test_cam_value_has_same_colour_in_all_frames(self, tmp_path: Path) -> None:
        black, level = torch.zeros(1, 8, 8), torch.full((2, 2), 0.5)
        mixed = torch.tensor([[0.5, 4.0], [4.0, 4.0]])
        frames = [
            frame(image=black, cam=level),
            frame(image=black, cam=mixed),
            frame(image=black, cam=level / 5),
        ]
        animation.write_gif(frames, NAMES, tmp_path / "trace.gif", 50)
        _, images = self.read(tmp_path / "trace.gif")
        # The upper left corner of the CAM is 0.5, 0.5 and 0.1.
        first, second, third = (pixels[50, 260].astype(int) for pixels in images)
        assert np.abs(first - second).max() <= 4
        assert np.abs(first - third).max() > 4

    def test_figure_uses_given_scale_and_has_texts_of_the_frame_shown(self) -> None:
        drawn = animation.Animation(frame(image=torch.zeros(1, 8, 8)), NAMES, 7.5)
        drawn.show(frame(), 0.5)
        assert [artist.get_clim() for artist in overlays(drawn.figure)] == [(-7.5, 7.5)]
        texts = [text.get_text() for text in drawn.figure.texts]
        assert texts == ["victim [7] 0.996", "judge [7] 0.98", "x"]

    def test_later_frame_equals_the_same_frame_drawn_first_and_drawn_whole(self) -> None:
        other = frame(image=torch.zeros(3, 8, 8), cam=torch.zeros(2, 2), judge_label=1, caption="x'")
        later = frame(image=torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)))
        reused, fresh = (animation.Animation(first, NAMES, 7.5) for first in (other, later))
        reused.render(other, 0.9)
        pixels = np.array(reused.render(later, 0.5))
        assert np.array_equal(pixels, np.array(fresh.render(later, 0.5)))
        for artist in fresh._changing:
            artist.set_animated(False)
        canvas = FigureCanvasAgg(fresh.figure)
        canvas.draw()
        assert np.abs(pixels.astype(int) - np.asarray(canvas.buffer_rgba())[..., :3]).max() <= 2

    def test_frame_without_cam_draws_image_alone(self) -> None:
        assert len(animation.Animation(frame(cam=None), NAMES, None).figure.axes) == 1
        assert len(animation.Animation(frame(cam=None), NAMES, 1.0).figure.axes) == 1
