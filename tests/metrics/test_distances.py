"""Distances between x' and x, between x' and the real images of its class, and between results: by hand."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.metrics.distances import Distances, measure_distances
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.models.judge import Judge

CPU = torch.device("cpu")


class MeanLevel(Generator):
    """Encodes an image as twice its mean gray level, `(N, 1)`."""

    def encode(self, images: Tensor) -> Posterior:
        mean = 2 * images.flatten(1).mean(dim=1, keepdim=True)
        return Posterior(mean, torch.ones_like(mean))

    def decode(self, codes: Tensor) -> Tensor:
        return (codes / 2).reshape(-1, 1, 1, 1).expand(-1, 1, 16, 16)


def flat(level: int) -> torch.Tensor:
    """An image of one gray level, `(1, 16, 16)` uint8."""
    return torch.full((1, 16, 16), level, dtype=torch.uint8)


def labelled(levels: list[int], labels: list[int]) -> LabelledImages:
    return LabelledImages(torch.stack([flat(level) for level in levels]), torch.tensor(labels))


def unit(levels: list[int]) -> Tensor:
    """Images of one gray level each in [0, 1]."""
    return torch.stack([flat(level) for level in levels]).float() / 255


def evaluator() -> Evaluator:
    """Its judge has two linear members: the joined inputs of their last layers are all pixels, twice."""
    members = {name: nn.Sequential(nn.Flatten(), nn.Linear(256, 2)) for name in ("one", "two")}
    return Evaluator(nn.Identity(), None, Judge(members, 0.05, 1, 10), MeanLevel(), CPU)


def measure(
    x: Tensor,
    x_adv: Tensor,
    label: list[int],
    train: LabelledImages,
    test: LabelledImages,
    codes: Tensor | None = None,
) -> Distances:
    """With codes of the images themselves where none are given."""
    codes = MeanLevel().encode(x_adv).mean if codes is None else codes
    splits = ImageSplits(train, train, test, ("zero", "one"))
    return measure_distances(x, x_adv, codes, torch.tensor(label), evaluator(), splits)


TRAIN = labelled([0, 100, 250], [1, 1, 0])
TEST = labelled([2, 104, 110, 90, 255], [1, 1, 1, 1, 0])


def test_measure_distances_of_gray_levels_by_hand() -> None:
    """Images of one level each: ‖a − b‖₂ is 16·|a − b|, and the training levels of class 1 are 0 and 100."""
    found = measure(unit([250, 250, 250]), unit([1, 105, 200]), [1, 1, 1], TRAIN, TEST)
    levels = torch.tensor([249.0, 145.0, 50.0])
    torch.testing.assert_close(found.pixels, 16 * levels / 255, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.judge, 2**0.5 * 16 * levels / 255, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.nearest, 16 * torch.tensor([1.0, 5.0, 100.0]) / 255, rtol=0, atol=1e-4)
    # The distances of the real test images of class 1 to their nearest training image are 2, 4, 10 and 10 levels.
    assert found.nearest_rank.tolist() == [0.0, 0.5, 1.0]
    assert found.summary()["near_duplicate_rate"] == pytest.approx(1 / 3)
    assert found.summary()["outlier_rate"] == pytest.approx(1 / 3)
    assert found.summary()["median_nearest"] == pytest.approx(16 * 5 / 255, abs=1e-4)


def test_code_distances_and_ranks_are_of_the_codes_given_by_hand() -> None:
    """A code is twice the mean level, whatever the image shows: here the codes of levels 99, 107 and 130.

    The codes of class 1 are those of levels 0 and 100; those of test images are 2, 4, 10 and 10 levels away.
    """
    codes = MeanLevel().encode(unit([99, 107, 130])).mean
    found = measure(unit([0, 0, 0]), unit([1, 105, 200]), [1, 1, 1], TRAIN, TEST, codes)
    torch.testing.assert_close(found.code_nearest, 2 * torch.tensor([1.0, 7.0, 30.0]) / 255, rtol=0, atol=1e-4)
    assert found.code_nearest_rank.tolist() == [0.0, 0.5, 1.0]
    summary = found.summary()
    assert summary["codes_on_manifold"] == pytest.approx(2 / 3)
    assert summary["median_code_nearest"] == pytest.approx(2 * 7 / 255, abs=1e-4)


def test_neighbours_are_searched_in_the_class_that_x_adv_is_meant_to_show() -> None:
    """Level 240 is 10 from the training image of class 0, and 140 from the nearest of class 1."""
    found = measure(unit([0, 0]), unit([240, 240]), [0, 1], TRAIN, TEST)
    torch.testing.assert_close(found.nearest, 16 * torch.tensor([10.0, 140.0]) / 255, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.code_nearest, 2 * torch.tensor([10.0, 140.0]) / 255, rtol=0, atol=1e-4)
    assert found.nearest_rank.tolist() == [1.0, 1.0]


def test_distance_to_another_result_is_within_the_class_by_hand() -> None:
    """Of class 1 are levels 10, 10 and 40; of class 0 the level 12 alone, which has no other."""
    found = measure(unit([0, 0, 0, 0]), unit([10, 12, 10, 40]), [1, 0, 1, 1], TRAIN, TEST)
    torch.testing.assert_close(found.other, 16 * torch.tensor([0, torch.inf, 0, 30]) / 255, rtol=0, atol=1e-4)
    # The first three test images of class 1 have levels 2, 104 and 110, the only one of class 0 has no other.
    torch.testing.assert_close(found.other_real, 16 * torch.tensor([102, torch.inf, 6, 6]) / 255, rtol=0, atol=1e-4)


def test_equal_results_are_copies_and_as_many_real_images_are_not() -> None:
    """Real images of random pixels are about equally far apart; a result that was found twice is a copy."""
    images = torch.randint(256, (80, 1, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    real = LabelledImages(images, torch.ones(80, dtype=torch.long))
    train, test, shown = real[torch.arange(20)], real[torch.arange(20, 50)], images[50:].float() / 255
    label = [1] * 30

    def copies(x_adv: Tensor) -> float:
        return measure(shown, x_adv, label, train, test).summary()["copy_rate"]

    assert copies(shown) <= 0.1
    assert copies(test.images.float() / 255) <= 1 / 30
    repeated = shown.clone()
    repeated[:10] = shown[10:20]
    assert copies(repeated) == pytest.approx(20 / 30, abs=0.1)
    nearly = (repeated + 0.001 * torch.rand(shown.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    assert copies(nearly) == copies(repeated)
    assert copies(shown[:1].expand(30, -1, -1, -1)) == 1


def test_summary_of_ranks_by_hand() -> None:
    """Tails of 1%: below 0.01 and above 0.99; a code on the manifold has a rank of at most 0.99."""
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    ranks = torch.tensor([0.005, 0.01, 0.99, 0.995])
    found = Distances(values, values, values, values, ranks, values, ranks, values, 10 * values)
    summary = found.summary()
    assert (summary["near_duplicate_rate"], summary["outlier_rate"], summary["codes_on_manifold"]) == (
        0.25,
        0.25,
        0.75,
    )
    assert summary["copy_rate"] == 1  # all are below 10.3, the 1% quantile of 10, 20, 30 and 40
    assert replace(found, other_real=values).summary()["copy_rate"] == 0.25
    assert summary["median_pixels"] == 2


def test_measure_distances_ssim_of_equal_and_of_constant_images_by_hand() -> None:
    """Of constant images only the luminance term remains: (2ab + c1) / (a² + b² + c1), c1 = 0.01²."""
    data = labelled([0, 9], [0, 1])
    found = measure(unit([100, 100]), unit([100, 200]), [1, 1], data, data)
    a, b, c = 100 / 255, 200 / 255, 1e-4
    expected = torch.tensor([1.0, (2 * a * b + c) / (a * a + b * b + c)])
    torch.testing.assert_close(found.ssim, expected, rtol=0, atol=1e-4)


def test_measure_distances_of_one_image_has_one_ssim() -> None:
    data = labelled([0, 9], [0, 1])
    assert measure(unit([7]), unit([7]), [1], data, data).ssim.tolist() == pytest.approx([1.0])
