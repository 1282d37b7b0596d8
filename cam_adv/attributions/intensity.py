"""The image itself in the form of an attribution: the baseline of every comparison between explanations."""

from torch import Tensor

from cam_adv.attributions.layer_target import LayerTarget


def intensity(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """The mean over channels of images `(N, C, H, W)`, as maps `(N, H, W)`; the other arguments are not used."""
    return images.detach().mean(dim=1)
