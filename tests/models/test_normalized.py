"""A victim behind a normalisation: values, maps, and what is refused."""

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attributions.cam import checked_cams, find_cam_head
from cam_adv.errors import UserError
from cam_adv.models.normalized import Normalized, normalized
from cam_adv.models.victims import GapCNN

IMAGES = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Pixels(nn.Module):
    """Returns what it gets."""

    def forward(self, images: Tensor) -> Tensor:
        return images


def test_network_gets_images_minus_mean_over_std() -> None:
    network = normalized(Pixels(), [0.5, 0.25, 0.0], [0.5, 0.25, 2.0], 3)
    got = network(torch.full((1, 3, 1, 2), 0.75))
    assert got[0, :, 0].tolist() == [[0.5, 0.5], [2.0, 2.0], [0.375, 0.375]]


@pytest.mark.parametrize(
    ("mean", "std", "expected"), [([0.25], None, 0.5), (None, [0.25], 3.0), ([0.25], [0.25], 2.0)]
)
def test_mean_or_std_alone_leaves_the_other(
    mean: list[float] | None, std: list[float] | None, expected: float
) -> None:
    assert normalized(Pixels(), mean, std, 1)(torch.tensor([[[[0.75]]]])).item() == expected


def test_without_both_the_network_is_returned_itself() -> None:
    network = Pixels()
    assert normalized(network, None, None, 3) is network


@pytest.mark.parametrize(("key", "values"), [("mean", {"mean": [0.5] * 3}), ("std", {"std": [0.5, 0.5]})])
def test_other_number_of_channels_is_refused(key: str, values: dict[str, list[float]]) -> None:
    with pytest.raises(UserError, match=rf"model\.victim\.{key} has \d numbers, but the images have 1 channel\."):
        normalized(Pixels(), values.get("mean"), values.get("std"), 1)


def test_mode_of_the_network_is_kept() -> None:
    assert not normalized(Pixels().eval(), [0.5], None, 1).training
    assert normalized(Pixels().train(), [0.5], None, 1).training


def test_exact_cam_is_found_inside() -> None:
    torch.manual_seed(0)
    inner = GapCNN(3, 5, (2, 3, 4)).eval()
    outer = Normalized(inner, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]).eval()
    scaled = (IMAGES - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    found = find_cam_head(outer, IMAGES)
    assert found is not None
    assert found.linear is inner.classifier
    logits, maps = checked_cams(outer, found, IMAGES)
    expected = find_cam_head(inner, scaled)
    assert expected is not None
    inner_logits, inner_maps = checked_cams(inner, expected, scaled)
    assert torch.equal(logits, inner_logits)
    assert torch.equal(maps, inner_maps)
