"""The walks of attacked images, of networks whose answers are worked out by hand."""

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.attributions.robust import RobustInterpretation
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.studies.attack.walks import LARGEST_SIDE, MOST_FRAMES, Walks

STEPS = 4


@dataclass
class ByHand:
    """G(z) shows z as a picture of 2×2 pixels; the victim's logits are its rows' sums, f2's logits z's first two.

    The victim's map of class c is c + the mean of the picture. The judge reads class 1 where the first pixel is above
    0.5, else nothing.
    """

    has_cam: bool = True
    device = torch.device("cpu")
    generator = SimpleNamespace(classifier=lambda codes: codes[:, :2])

    def decode(self, codes: Tensor) -> Tensor:
        return codes.reshape(-1, 1, 2, 2)

    def logits_and_cams(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        mean = images.mean(dim=(1, 2, 3)).reshape(-1, 1, 1, 1)
        maps = torch.arange(2.0).reshape(1, 2, 1, 1) + mean.expand(-1, 2, 3, 3)
        return images.sum(dim=(1, 3)), maps if self.has_cam else None

    @property
    def judge(self) -> Any:
        def read(images: Tensor, device: torch.device) -> Any:
            reads = torch.where(images[:, 0, 0, 0] > 0.5, 1, -1)
            return SimpleNamespace(probs=torch.full((len(images), 2), 0.5), reads=reads)

        return SimpleNamespace(read=read)


class Contrast:
    """A robust interpretation: the map of a picture is its pixels · (y − y'); none if the first is above 0.5."""

    def explain(self, images: Tensor, label: Tensor, target: Tensor) -> Any:
        maps = images[:, 0] * (label - target).reshape(-1, 1, 1)
        return SimpleNamespace(maps=maps.masked_fill((images[:, :, :1, :1] > 0.5)[:, 0], torch.nan))


def record(result: AttackResult, count: int = 10, has_cam: bool = True, robust: bool = True) -> Walks:
    interpretation = cast(RobustInterpretation, Contrast()) if robust else None
    return Walks.record(result, cast(Evaluator, ByHand(has_cam)), interpretation, count)


@pytest.fixture
def result() -> AttackResult:
    """Three images: one moves to the end, one stops at the third point, one at the first; δ is 0.1 on one pixel."""
    path = torch.zeros(3, STEPS, 4)
    path[0] = torch.tensor([0.0, 0.3, 0.6, 0.9]).unsqueeze(1)
    path[1, 1], path[1, 2:] = 0.2, 0.8
    residual = torch.zeros(3, STEPS, 1, 2, 2)
    residual[:2, 1:, 0, 0, 1] = 0.1
    x_adv = (path[:, -1].reshape(3, 1, 2, 2) + residual[:, -1]).clamp(0, 1)
    return AttackResult(
        x=torch.full((3, 1, 2, 2), 0.4),
        x_adv=x_adv,
        y=torch.tensor([0, 1, 0]),
        target=torch.tensor([1, 0, 1]),
        start=torch.zeros(3, dtype=torch.long),
        steps=torch.tensor([30, 20, 0]),
        diverged=torch.zeros(3, dtype=torch.bool),
        terms={"one": torch.zeros(3, STEPS)},
        z0=torch.full((3, 4), 0.4),
        z=path[:, -1],
        path=path,
        residual_path=residual,
    )


def test_frames_are_x_and_the_recorded_steps(result: AttackResult) -> None:
    walks = record(result)
    assert walks.rows.tolist() == [0, 1, 2]
    assert walks.points is not None
    assert walks.points.tolist() == [0, 1, 2, 3]
    assert walks.lengths.tolist() == [5, 4, 2]
    pixels = [[102, 102], [0, 0], [76, 102], [153, 178], [230, 255]]  # of 0.4; 0; 0.3 and 0.4; … 0.9 and 1
    assert (walks.images[0, :, 0, 0].int() - torch.tensor(pixels)).abs().max() <= 1
    assert torch.equal(walks.images[:, -1], (255 * result.x_adv).round().byte())


def test_residual_is_what_it_changes_in_the_picture_enlarged(result: AttackResult) -> None:
    """0.1 is shown as 0.5 + 0.3; of x, which has none, it is gray."""
    walks = record(result)
    assert walks.residuals is not None
    assert walks.residuals[0, :, 0, 0, 1].tolist() == [128, 128, 204, 204, 204]
    assert (walks.residuals[..., 0] == 128).all()


def test_answers_are_of_the_frames(result: AttackResult) -> None:
    walks = record(result)
    assert walks.f2 is not None
    upper, lower = torch.tensor([0.8, 0, 0.7, 1.3, 1.9]), torch.tensor([0.8, 0, 0.6, 1.2, 1.8])
    torch.testing.assert_close(walks.victim[0, :, 0], torch.sigmoid(upper - lower))
    assert walks.judge_reads[0].tolist() == [-1, -1, -1, 1, 1]
    assert torch.equal(walks.f2, torch.full((3, 5, 2), 0.5))


def test_robust_maps_are_of_each_frame_and_missing_where_it_abstains(result: AttackResult) -> None:
    """Image 0 walks from 0.4 over 0, 0.3 and 0.6 to 0.9, from class 0 to 1; image 1 from 1 to 0."""
    walks = record(result)
    assert walks.robust is not None
    assert walks.robust.shape == (3, 5, 2, 2)
    torch.testing.assert_close(walks.robust[0, :3, 1, 1], -torch.tensor([0.4, 0, 0.3]))
    torch.testing.assert_close(walks.robust[1, :3, 1, 1], torch.tensor([0.4, 0, 0.2]))
    assert walks.robust[0].isnan().flatten(1).all(dim=1).tolist() == [False, False, False, True, True]
    assert record(result, robust=False).robust is None


def test_maps_are_of_y_and_of_the_target(result: AttackResult) -> None:
    walks = record(result)
    assert walks.cams is not None
    assert walks.cams.shape == (3, 5, 2, 3, 3)
    difference = walks.cams[:, :, 0] - walks.cams[:, :, 1]
    torch.testing.assert_close(difference[:, :, 0, 0], torch.tensor([-1.0, 1, -1]).unsqueeze(1).expand(-1, 5))
    torch.testing.assert_close(walks.cams[0, 0, 0, 0, 0], torch.tensor(0.4))
    assert record(result, has_cam=False).cams is None


def test_attack_on_pixels_is_shown_on_the_straight_line(result: AttackResult) -> None:
    walks = record(replace(result, path=None, residual_path=None))
    assert (walks.points, walks.residuals, walks.f2) == (None, None, None)
    count = 1 + MOST_FRAMES
    assert walks.lengths.tolist() == [count] * 3
    expected = 0.4 + (0.9 - 0.4) * torch.linspace(0, 1, count)
    assert (walks.images[0, :, 0, 1, 1].float() / 255 - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_rows_are_evenly_spaced_and_parts_do_not_matter(
    result: AttackResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert record(result, 2).rows.tolist() == [0, 2]
    whole = record(result)
    monkeypatch.setattr("cam_adv.studies.attack.walks.AT_ONCE", 2)
    for name, value in vars(record(result)).items():
        assert torch.allclose(value, getattr(whole, name), rtol=0, atol=0, equal_nan=True), name


def test_many_recorded_steps_are_thinned_out(result: AttackResult) -> None:
    path = torch.linspace(0, 1, 101).reshape(1, -1, 1).expand(3, -1, 4)
    residual = torch.zeros(3, 101, 1, 2, 2)
    walks = record(replace(result, path=path, residual_path=residual, terms={"one": torch.zeros(3, 101)}))
    assert walks.points is not None
    assert len(walks.points) == MOST_FRAMES
    assert (walks.points[0], walks.points[-1]) == (0, 100)
    assert walks.images[0, 1:-1, 0, 0, 0].tolist() == pytest.approx((2.55 * walks.points[:-1]).tolist(), abs=0.6)


def test_large_pictures_are_reduced_by_the_mean() -> None:
    side = 2 * LARGEST_SIDE
    x = torch.zeros(1, 3, side, side)
    x[:, :, ::2] = 1
    labels = torch.zeros(1, dtype=torch.long)
    result = AttackResult(x, x, labels, labels + 1, labels, labels, labels.bool(), {"one": torch.zeros(1, 2)})
    walks = record(result, has_cam=False)
    assert walks.images.shape == (1, 1 + MOST_FRAMES, 3, LARGEST_SIDE, LARGEST_SIDE)
    assert (walks.images == 128).all()
