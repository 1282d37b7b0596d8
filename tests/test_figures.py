"""The figures say what they were given: their texts, colour scales and curves are read back and compared."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import same_color
from PIL import Image, ImageSequence

from cam_adv.report import animation, contact_sheet, curves, matrix, strip
from cam_adv.report.strip import Frame

NAMES = [str(digit) for digit in range(10)]
CAM = torch.tensor([[1.0, -3.0], [0.5, 0.0]])


def frame(**changes) -> Frame:
    """A frame of the walk from 7 to 9 which both networks still read as 7."""
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


def overlays(figure) -> list:
    """The CAM artists of a figure, left to right."""
    return [image for axes in figure.axes for image in axes.images if image.get_cmap().name == "RdBu_r"]


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
    def test_is_the_largest_magnitude_of_all_maps(self, cams, scale):
        assert strip.cam_scale([torch.tensor(cam) for cam in cams]) == scale

    @pytest.mark.parametrize("cams", [[], [torch.tensor([[float("nan"), 1.0]])], [torch.tensor([[-torch.inf]])]])
    def test_refuses_what_has_no_scale(self, cams):
        with pytest.raises(ValueError, match="CAM"):
            strip.cam_scale(cams)


class TestUpsampleCam:
    @pytest.mark.parametrize("size", [(28, 28), (21, 14), (7, 7), (126, 7)])
    def test_keeps_the_mean(self, size):
        cam = torch.randn(7, 7, generator=torch.Generator().manual_seed(1)) - 2
        large = strip.upsample_cam(cam, size)
        assert large.shape == size
        assert float(large.mean()) == pytest.approx(float(cam.mean()), abs=1e-5)

    def test_is_bilinear_between_the_centres_of_cells(self):
        assert strip.upsample_cam(torch.tensor([[0.0, 4.0]]), (1, 4)).tolist() == [[0.0, 1.0, 3.0, 4.0]]


class TestStrip:
    def test_titles_name_the_victims_and_the_judges_answers(self):
        later = frame(judge_label=9, judge_confidence=0.5, victim_confidence=1.0, caption="x'")
        figure = strip.strip_figure([frame(cam=None), later], "7 → 9", NAMES)
        panels = [axes for axes in figure.axes if axes.get_title()]
        assert [axes.get_title() for axes in panels] == ["[7] 0.996", "[7] 1.000"]
        assert [axes.get_xlabel() for axes in panels] == ["judge [7] 0.98", "judge [9] 0.50"]
        assert [axes.texts[0].get_text() for axes in panels] == ["x", "x'"]
        assert "7 → 9" in [text.get_text() for text in figure.texts]

    def test_titles_use_the_names_of_the_classes(self):
        figure = strip.strip_figure([frame(victim_label=1)], "", ["cat", "dog", *NAMES])
        assert figure.axes[0].get_title() == "[dog] 0.996"

    def test_all_cams_share_one_symmetric_scale(self):
        figure = strip.strip_figure([frame(), frame(cam=CAM / 100), frame(cam=-2 * CAM)], "", NAMES)
        assert [artist.get_clim() for artist in overlays(figure)] == [(-6.0, 6.0)] * 3

    def test_cams_are_drawn_raw(self):
        (artist,) = overlays(strip.strip_figure([frame()], "", NAMES))
        assert torch.equal(torch.tensor(artist.get_array()), strip.upsample_cam(CAM, (8, 8)))

    def test_a_frame_without_cam_leaves_its_place_empty(self):
        figure = strip.strip_figure([frame(), frame(cam=None), frame()], "", NAMES)
        lefts = [artist.axes.get_position().x0 for artist in overlays(figure)]
        pictures = [axes.get_position().x0 for axes in figure.axes if axes.get_title()]
        assert lefts == pytest.approx([pictures[0], pictures[2]])

    def test_the_row_of_cams_is_left_out_where_there_is_none(self):
        figure = strip.strip_figure([frame(cam=None), frame(cam=None)], "", NAMES)
        assert len(figure.axes) == 2
        assert overlays(figure) == []

    def test_the_deception_is_marked_and_nothing_else(self):
        figure = strip.strip_figure([frame(), frame(judge_label=9)], "", NAMES)
        honest, deceived = (axes for axes in figure.axes if axes.get_title())
        assert same_color(honest.title.get_color(), "black")
        assert same_color(deceived.title.get_color(), strip.DECEIVED)
        assert deceived.spines["top"].get_linewidth() > 2 * honest.spines["top"].get_linewidth()
        assert any("another class" in text.get_text() for text in figure.texts)

    def test_pictures_keep_their_values(self):
        colour = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(2))
        gray = frame()
        figure = strip.strip_figure([gray, frame(image=colour)], "", NAMES)
        first, second = (axes.images[0] for axes in figure.axes if axes.get_title())
        assert (first.get_clim(), first.get_cmap().name) == ((0, 1), "gray")
        assert np.array_equal(first.get_array(), gray.image[0].numpy())
        assert np.array_equal(second.get_array(), colour.permute(1, 2, 0).numpy())

    def test_no_text_overlaps_another_in_a_strip_of_twelve(self):
        names = ["automobile"] * 10
        figure = strip.strip_figure([frame(judge_label=9, caption="step 120")] * 12, "a heading", names)
        figure.draw_without_rendering()
        panels = [axes for axes in figure.axes if axes.get_title()]
        for texts in ([axes.title for axes in panels], [axes.xaxis.label for axes in panels]):
            assert all(a.get_window_extent().x1 < b.get_window_extent().x0 for a, b in pairwise(texts))

    def test_takes_tensors_that_carry_gradients(self, tmp_path):
        image, cam = torch.rand(1, 8, 8, requires_grad=True), CAM.clone().requires_grad_()
        strip.draw_strip([frame(image=image, cam=cam)], "", NAMES, tmp_path / "strip.png")
        with Image.open(tmp_path / "strip.png") as drawn:
            assert drawn.width > 200

    def test_refuses_no_frames(self):
        with pytest.raises(ValueError, match="frame"):
            strip.strip_figure([], "", NAMES)


class TestGif:
    @staticmethod
    def read(path: Path) -> tuple[list[int], list[np.ndarray]]:
        with Image.open(path) as gif:
            frames = [(f.info["duration"], np.array(f.convert("RGB"))) for f in ImageSequence.Iterator(gif)]
        return [duration for duration, _ in frames], [pixels for _, pixels in frames]

    def test_has_every_frame_for_its_time(self, tmp_path):
        # Equal frames too: each has its time, although pillow would merge two equal pictures into one.
        walk = [frame(), frame(), frame(image=torch.zeros(1, 8, 8))]
        animation.write_gif(walk, NAMES, tmp_path / "walk.gif", 120)
        durations, frames = self.read(tmp_path / "walk.gif")
        assert durations == [120, 120, 120 * animation.LAST_FRAME_HOLD]
        height, width = frames[0].shape[:2]
        assert 480 <= width <= 640
        left = [pixels[: height // 2, : width // 2] for pixels in frames]
        assert np.array_equal(left[0], left[1])
        assert not np.array_equal(left[1], left[2])

    def test_a_value_keeps_its_colour_from_frame_to_frame(self, tmp_path):
        black, level = torch.zeros(1, 8, 8), torch.full((2, 2), 0.5)
        mixed = torch.tensor([[0.5, 4.0], [4.0, 4.0]])
        walk = [
            frame(image=black, cam=level),
            frame(image=black, cam=mixed),
            frame(image=black, cam=level / 5),
        ]
        animation.write_gif(walk, NAMES, tmp_path / "walk.gif", 50)
        _, frames = self.read(tmp_path / "walk.gif")
        # The upper left corner of the CAM is 0.5, 0.5 and 0.1.
        first, second, third = (pixels[50, 260].astype(int) for pixels in frames)
        assert np.abs(first - second).max() <= 4
        assert np.abs(first - third).max() > 4

    def test_scale_of_the_figure_is_the_one_given(self):
        figure = animation.animation_figure(frame(), NAMES, 7.5, 0.5)
        assert [artist.get_clim() for artist in overlays(figure)] == [(-7.5, 7.5)]
        texts = [text.get_text() for text in figure.texts]
        assert texts == ["victim [7] 0.996", "judge [7] 0.98", "x"]

    def test_draws_no_cam_where_there_is_none(self):
        assert len(animation.animation_figure(frame(cam=None), NAMES, None, 1).axes) == 1
        assert len(animation.animation_figure(frame(cam=None), NAMES, 1.0, 1).axes) == 1


class TestContactSheet:
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
            "judge_label": torch.tensor([9, 7] * count)[:count],
            "judge_confidence": torch.tensor([0.991, 1.0] * count)[:count],
            "success": torch.tensor([True, False] * count)[:count],
            "class_names": NAMES,
        }

    @pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (8, 1, 8), (11, 2, 8)])
    def test_has_every_pair_eight_a_row(self, count, rows, columns):
        axes = contact_sheet.contact_sheet_figure(**self.arguments(count)).axes
        assert len(axes) == count
        assert len({round(a.get_position().y0, 6) for a in axes}) == rows
        assert len({round(a.get_position().x0, 6) for a in axes}) == columns

    def test_shows_x_beside_x_adv(self):
        arguments = self.arguments(2)
        pixels = contact_sheet.contact_sheet_figure(**arguments).axes[1].images[0].get_array()
        assert pixels.shape == (28, 58)
        assert np.array_equal(pixels[:, :28], arguments["x"][1, 0].numpy())
        assert np.array_equal(pixels[:, -28:], arguments["x_adv"][1, 0].numpy())

    def test_texts_and_frames_tell_success_from_failure(self):
        won, lost = contact_sheet.contact_sheet_figure(**self.arguments(2)).axes
        assert won.get_xlabel() == "✓ 7→9  f1 [7] .97\njudge [9] .99"
        assert lost.get_xlabel() == "✗ 7→9  f1 [7] .97\njudge [7] 1.00"
        assert won.spines["left"].get_linestyle() == "-"
        assert lost.spines["left"].get_linestyle() != "-"
        assert not same_color(won.spines["left"].get_edgecolor(), lost.spines["left"].get_edgecolor())

    def test_refuses_no_pairs(self):
        with pytest.raises(ValueError, match="pair"):
            contact_sheet.contact_sheet_figure(**self.arguments(0))

    def test_refuses_tensors_of_unequal_length(self):
        with pytest.raises(ValueError, match="zip"):
            contact_sheet.contact_sheet_figure(**(self.arguments(3) | {"success": torch.tensor([True])}))

    def test_writes_the_figure(self, tmp_path):
        contact_sheet.draw_contact_sheet(**self.arguments(3), path=tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as drawn:
            assert drawn.width > drawn.height


class TestMatrix:
    SUCCESSES = torch.tensor([[5, 3, 1], [4, 5, 0], [0, 1, 5]])
    ATTEMPTS = torch.tensor([[5, 4, 2], [4, 5, 0], [3, 8, 5]])

    def figure(self):
        return matrix.matrix_figure(self.SUCCESSES, self.ATTEMPTS, ["a", "b", "c"], "rates")

    def test_texts_of_a_case_worked_by_hand(self):
        texts = {text.get_position()[::-1]: text.get_text() for text in self.figure().axes[0].texts}
        assert texts == {
            (0, 1): "75%\nn=4",
            (0, 2): "50%\nn=2",
            (1, 0): "100%\nn=4",
            (2, 0): "0%\nn=3",
            (2, 1): "12%\nn=8",
            # The margins pool their row or column, diagonal left out: 4/6, 4/4, 1/11; 4/7, 4/12, 1/2; 9/21.
            (0, 3): "67%\nn=6",
            (1, 3): "100%\nn=4",
            (2, 3): "9%\nn=11",
            (3, 0): "57%\nn=7",
            (3, 1): "33%\nn=12",
            (3, 2): "50%\nn=2",
            (3, 3): "43%\nn=21",
        }

    def test_colours_run_from_nought_to_one_and_blanks_have_none(self):
        (image,) = self.figure().axes[0].images
        assert image.get_clim() == (0, 1)
        rates = np.ma.filled(np.ma.asarray(image.get_array()), np.nan)
        assert rates[0, 1] == 0.75
        assert np.isnan(rates[[0, 1, 2, 1], [0, 1, 2, 2]]).all()

    def test_axes_name_the_classes(self):
        axes = self.figure().axes[0]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c", "all"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "all"]
        assert axes.get_title(loc="left") == "rates"
        assert (axes.get_ylabel(), axes.get_xlabel()) == ("source class y", "target class y′")

    def test_many_classes_go_without_text(self, tmp_path):
        counts = torch.ones(40, 40, dtype=torch.long)
        figure = matrix.matrix_figure(counts, counts, [f"class {i}" for i in range(40)], "")
        assert len(figure.axes[0].texts) == 0
        assert figure.get_figwidth() < 12
        matrix.draw_matrix(self.SUCCESSES, self.ATTEMPTS, ["a", "b", "c"], "", tmp_path / "matrix.png")
        assert Image.open(tmp_path / "matrix.png").format == "PNG"


class TestCurves:
    def test_median_and_band_agree_with_numpy(self):
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

    def test_training_has_a_panel_a_model_with_its_curves(self):
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

    def test_curves_are_written(self, tmp_path):
        curves.draw_terms(torch.arange(3), {"norm": torch.ones(2, 3)}, "terms", tmp_path / "terms.png")
        curves.draw_training({"victim": {"loss": ([0], [1.0])}}, tmp_path / "training.png")
        for name in ("terms.png", "training.png"):
            assert len(np.unique(np.asarray(Image.open(tmp_path / name).convert("L")))) > 10

    def test_refuses_nothing_to_draw(self):
        with pytest.raises(ValueError, match="curve"):
            curves.training_figure({})
