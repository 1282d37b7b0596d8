"""The codes and images that show an attack's trajectory."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attacks.result import AttackResult
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.models.judge import Judge
from cam_adv.plots.attack_frames import draw_trace, latent_path_frames, pixel_interpolation
from cam_adv.plots.filmstrip import Frame


def attack_result(
    z0: float, path: list[float] | None, steps: int, start: int = 0, residuals: list[float] | None = None
) -> AttackResult:
    """One image, codes of one number each, and residuals that are the same for all pixels."""

    def one(value: object) -> Tensor:
        return torch.tensor([value])

    return AttackResult(
        x=torch.zeros(1, 1, 2, 2),
        x_adv=torch.ones(1, 1, 2, 2),
        y=one(0),
        target=one(1),
        start=one(start),
        steps=one(steps),
        diverged=one(False),
        terms={"k": torch.zeros(1, 2)},
        z0=None if path is None else one([z0]),
        z=None if path is None else one([path[-1]]),
        path=None if path is None else torch.tensor(path).reshape(1, -1, 1),
        residual_path=None
        if residuals is None
        else torch.tensor(residuals).reshape(1, -1, 1, 1, 1).expand(-1, -1, 1, 2, 2),
    )


def frames(result: AttackResult, count: int) -> tuple[list[float], list[str]]:
    """The codes and captions of the first image."""
    path = latent_path_frames(result, row=0, count=count)
    return path.codes.squeeze(1).tolist(), path.captions


class TenTimes(nn.Module):
    """A generator whose image of a code has ten times its value, in [0, 1]."""

    def decode(self, codes: Tensor) -> Tensor:
        return (10 * codes).clamp(0, 1).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def evaluator() -> Evaluator:
    return Evaluator(nn.Identity(), None, Judge({}, 0.1, 1, 1), TenTimes(), torch.device("cpu"))


class TestLatentPathFrames:
    def test_all_steps_fit_returns_whole_path(self) -> None:
        codes, captions = frames(attack_result(0.0, [0.0, 1.0, 2.0, 3.0], steps=3), count=9)
        assert codes == [0, 1, 2, 3]
        assert captions == ["G(z0)", "step 1", "step 2", "x'"]

    def test_early_stop_drops_steps_after_it(self) -> None:
        """After an early stop, the rest of the path repeats the last code."""
        codes, captions = frames(attack_result(0.0, [0.0, 1.0, 5.0, 5.0, 5.0], steps=2), count=9)
        assert codes == [0, 1, 5]
        assert captions == ["G(z0)", "step 1", "x'"]

    def test_fewer_frames_than_steps_are_evenly_spaced(self) -> None:
        path = [float(step) for step in range(9)]
        codes, captions = frames(attack_result(0.0, path, steps=8), count=3)
        assert codes == [0, 4, 8]
        assert captions == ["G(z0)", "step 4", "x'"]

    def test_other_initialisation_is_joined_to_z0_by_a_line(self) -> None:
        """The second initialisation of an attack with four steps each: step 7 of all is step 3 of its own."""
        result = attack_result(-4.0, [0.0, 1.0, 2.0, 3.0, 3.0], steps=7, start=1)
        codes, captions = frames(result, count=9)
        assert codes == [-4, 0, 1, 2, 3]
        assert captions == ["G(z0)", "G(start)", "step 1", "step 2", "x'"]

    def test_longer_line_to_initialisation_has_captions(self) -> None:
        path = [float(step) for step in range(6)]
        codes, captions = frames(attack_result(-2.0, path, steps=5), count=99)
        assert codes == [-2, -1, 0, 1, 2, 3, 4, 5]
        assert captions == ["G(z0)", "interpolated", "G(start)", "step 1", "step 2", "step 3", "step 4", "x'"]

    def test_start_that_is_the_result_has_one_frame_of_it(self) -> None:
        """The start itself is x', found before any step; the line to it has at least one code of its own."""
        codes, captions = frames(attack_result(-2.0, [3.0, 3.0, 3.0], steps=0), count=9)
        assert (codes, captions) == ([-2, 3], ["G(z0)", "x'"])

    def test_chosen_frames_keep_their_captions(self) -> None:
        path = [float(step) for step in range(6)]
        codes, captions = frames(attack_result(-2.0, path, steps=5), count=4)
        assert (codes, captions) == ([-2, 0, 3, 5], ["G(z0)", "G(start)", "step 3", "x'"])

    def test_attack_without_residual_has_the_images_of_its_codes(self) -> None:
        path = latent_path_frames(attack_result(0.0, [0.0, 0.05, 0.1], steps=2), row=0, count=9)
        assert path.residuals is None
        images, generated = path.images(evaluator())
        assert images[:, 0, 0, 0].tolist() == pytest.approx([0, 0.5, 1])
        assert torch.equal(images, generated)

    def test_residuals_are_added_to_the_images_of_the_steps_that_have_them(self) -> None:
        """Those of the straight line to the start are 0; the sum is cut off at 0 and 1."""
        path = [0.02, 0.03, 0.04, 0.1]
        result = attack_result(0.0, path, steps=3, residuals=[0.0, 0.1, -0.9, 0.3])
        found = latent_path_frames(result, row=0, count=9)
        assert found.captions == ["G(z0)", "G(start)", "step 1", "step 2", "x'"]
        images, generated = found.images(evaluator())
        assert generated[:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 0.3, 0.4, 1.0])
        assert images[:, 0, 0, 0].tolist() == pytest.approx([0, 0.2, 0.4, 0, 1.0])
        assert found.residuals is not None
        assert found.residuals[:, 0, 0, 0].tolist() == pytest.approx([0, 0, 0.1, -0.9, 0.3])

    def test_residuals_of_an_early_stop_belong_to_the_steps_shown(self) -> None:
        result = attack_result(0.0, [0.0, 1.0, 5.0, 5.0], steps=2, residuals=[0.0, 0.1, 0.2, 0.2])
        found = latent_path_frames(result, row=0, count=2)
        assert found.codes.squeeze(1).tolist() == [0, 5]
        assert found.residuals is not None
        assert found.residuals[:, 0, 1, 1].tolist() == pytest.approx([0, 0.2])

    def test_result_without_codes_raises(self) -> None:
        with pytest.raises(ValueError, match="latent path"):
            latent_path_frames(attack_result(0.0, None, steps=1), row=0, count=2)


def test_pixel_interpolation_is_straight_from_x_to_x_adv() -> None:
    images, captions = pixel_interpolation(attack_result(0.0, None, steps=1), row=0, count=4)
    assert images.shape == (5, 1, 2, 2)
    assert images[:, 0, 0, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert captions == ["x", "25% of the way", "50% of the way", "75% of the way", "x'"]


def test_draw_trace_class_name_with_slash_gives_file_names(tmp_path: Path) -> None:
    """One of FashionMNIST's classes is T-shirt/top."""
    names = ("T-shirt/top", "Sneaker")
    image, cam = torch.rand(1, 8, 8), torch.tensor([[1.0, -3.0], [0.5, 0.0]])
    frames = [Frame(image, cam, 1, 0.9, 1, 0.9, caption) for caption in ("x", "0", "1", "2")]
    draw_trace(frames, "Sneaker", "T-shirt/top", names, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".gif", ".png"]


def test_draw_trace_from_samples_is_called_after_the_class_of_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headings = []

    def figure(frames: list[Frame], heading: str, *_: object) -> str:
        headings.append(heading)
        return heading

    monkeypatch.setattr("cam_adv.plots.attack_frames.filmstrip_figure", figure)
    monkeypatch.setattr("cam_adv.plots.attack_frames.save_figure", lambda figure, path: path.write_text(figure))
    frames = [Frame(torch.rand(1, 8, 8), None, 1, 0.9, 1, 0.9, caption) for caption in ("sample of y'", "0", "1")]
    animation = draw_trace(frames, "7", "9", tuple("0123456789"), tmp_path, from_samples=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["9_as_7.gif", "9_as_7.png"]
    assert animation == tmp_path / "9_as_7.gif"
    assert headings == [
        "A sample of 9 that the victim must call 7: predictions of victim and judge, and the CAM of 7"
    ]
