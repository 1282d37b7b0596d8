"""Every network of the package takes images from the smallest side on, and says so about smaller ones."""

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from conftest import compose
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from torch import nn

from cam_adv.errors import UserError
from cam_adv.models.image_size import SMALLEST_SIDE, check_image_size

SECTIONS = ("victim", "generator", "judge", "surrogates")


def networks(*choices: str) -> Iterator[dict[str, Any]]:
    """The `_target_` nodes of the models of a config."""
    config = OmegaConf.to_container(compose(choices).model, resolve=True)
    assert isinstance(config, dict)
    for section in SECTIONS:
        yield from (one["network"] for one in config[section].get("members", {"": config[section]}).values())


def check(target: dict[str, Any], side: int) -> None:
    given = {"in_channels": 1, "num_classes": 3, "image_size": (side, side)}
    known = inspect.signature(get_object(target["_target_"])).parameters
    build = partial(instantiate, target, **{name: value for name, value in given.items() if name in known})
    check_image_size(build, (1, side, side), target["_target_"])


@pytest.mark.parametrize(
    "choices",
    [
        ["model/victim=gap_cnn"],
        ["model/victim=lenet", "model/generator=residual_svae", "model/judge=photographs"],
        ["model/victim=resnet18", "model/surrogates=photographs"],
    ],
)
def test_smallest_side_is_enough(choices: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cam_adv.models.image_size.SMALLEST_SIDE", SMALLEST_SIDE + 1)
    for target in networks(*choices):
        check(target, SMALLEST_SIDE)


def test_smaller_images_are_refused_with_a_size_that_is_enough() -> None:
    victim, generator, *others = networks("model/victim=lenet")
    for target, side in ((victim, 11), (generator, 2), (others[0], 7)):
        with pytest.raises(UserError) as refused:
            check(target, side)
        assert refused.value.what.endswith(f" can't take images of {side}×{side} pixels: they are too small.")
        assert refused.value.remedy.startswith("Set dataset.size to 16 or more ")


def test_networks_of_others_are_left_to_other_checks() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError

    check_image_size(Broken, (1, 2, 2), "my_net.Broken")
