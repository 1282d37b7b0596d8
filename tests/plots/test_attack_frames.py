"""The codes and images that show an attack's trajectory."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.plots.attack_frames import draw_trace, latent_path_frames, pixel_interpolation
from cam_adv.plots.filmstrip import Frame


def attack_result(z0: float, path: list[float] | None, steps: int, start: int = 0) -> AttackResult:
    """One image and codes of one number each."""

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
    )


class TestLatentPathFrames:
    def test_all_steps_fit_returns_whole_path(self) -> None:
        codes, captions = latent_path_frames(attack_result(0.0, [0.0, 1.0, 2.0, 3.0], steps=3), row=0, count=9)
        assert codes.squeeze(1).tolist() == [0, 1, 2, 3]
        assert captions == ["G(z0)", "step 1", "step 2", "x'"]

    def test_early_stop_drops_steps_after_it(self) -> None:
        """After an early stop, the rest of the path repeats the last code."""
        codes, captions = latent_path_frames(attack_result(0.0, [0.0, 1.0, 5.0, 5.0, 5.0], steps=2), row=0, count=9)
        assert codes.squeeze(1).tolist() == [0, 1, 5]
        assert captions == ["G(z0)", "step 1", "x'"]

    def test_fewer_frames_than_steps_are_evenly_spaced(self) -> None:
        path = [float(step) for step in range(9)]
        codes, captions = latent_path_frames(attack_result(0.0, path, steps=8), row=0, count=3)
        assert codes.squeeze(1).tolist() == [0, 4, 8]
        assert captions == ["G(z0)", "step 4", "x'"]

    def test_other_initialisation_is_joined_to_z0_by_a_line(self) -> None:
        """The second initialisation of an attack with four steps each: step 7 of all is step 3 of its own."""
        result = attack_result(-4.0, [0.0, 1.0, 2.0, 3.0, 3.0], steps=7, start=1)
        codes, captions = latent_path_frames(result, row=0, count=9)
        assert codes.squeeze(1).tolist() == [-4, 0, 1, 2, 3]
        assert captions == ["G(z0)", "step 0", "step 1", "step 2", "x'"]

    def test_longer_line_to_initialisation_has_captions(self) -> None:
        path = [float(step) for step in range(6)]
        codes, captions = latent_path_frames(attack_result(-2.0, path, steps=5), row=0, count=99)
        assert codes.squeeze(1).tolist() == [-2, -1, 0, 1, 2, 3, 4, 5]
        assert captions[:3] == ["G(z0)", "z0 to init", "step 0"]

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
