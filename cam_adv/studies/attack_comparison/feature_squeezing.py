"""Feature squeezing (Xu, Evans and Qi, NDSS 2018): a detector of predictions that depend on fine detail.

It is designed against Type II attacks: a small perturbation changes the prediction, and squeezing undoes that.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def squeezing_distance(victim: nn.Module, images: Tensor, bits: int, window: int) -> Tensor:
    """The largest L1 distance between the victim's probabilities of an image and a squeezed copy, `(N,)` in [0, 2].

    Args:
        victim: images to logits `(N, K)`, in eval mode.
        images: `(N, C, H, W)` in [0, 1].
        bits, window: see `reduce_bit_depth` and `median_filter`.
    """
    original = victim(images).softmax(dim=1)
    distances = []
    for squeezer, parameter in ((reduce_bit_depth, bits), (median_filter, window)):
        squeezed = victim(squeezer(images, parameter)).softmax(dim=1)
        distances.append((squeezed - original).abs().sum(dim=1))
    return torch.stack(distances).amax(dim=0)


def reduce_bit_depth(images: Tensor, bits: int) -> Tensor:
    """Round pixels to the nearest of 2^bits evenly spaced values in [0, 1], 0 and 1 included."""
    highest = 2**bits - 1
    return (images * highest).round() / highest


def median_filter(images: Tensor, window: int) -> Tensor:
    """The median of `window`×`window` pixels, each channel separately; `window` is 2 or 3.

    As in the authors' code, which uses `scipy.ndimage.median_filter`: a pixel is the lower right one of its 2×2
    window, the larger of the two middle values is the median, and the image is padded with its border pixels.
    """
    before, after = window // 2, (window - 1) // 2
    padded = functional.pad(images, (before, after, before, after), mode="replicate")
    windows = padded.unfold(2, window, 1).unfold(3, window, 1).flatten(4)
    return windows.kthvalue(window**2 // 2 + 1, dim=4).values
