"""Feature squeezing (Xu, Evans and Qi, NDSS 2018): an answer that hangs on detail changes with it squeezed out.

Made against Type II: there a small perturbation moves the answer, and squeezing undoes it.
"""

from collections.abc import Callable

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
    squeezers: list[Callable[[], Tensor]] = [
        lambda: reduce_bit_depth(images, bits),
        lambda: median_filter(images, window),
    ]
    before = victim(images).softmax(dim=1)
    moved = [(victim(squeeze()).softmax(dim=1) - before).abs().sum(dim=1) for squeeze in squeezers]
    return torch.stack(moved).amax(dim=0)


def reduce_bit_depth(images: Tensor, bits: int) -> Tensor:
    """The nearest of 2^bits evenly spaced gray values, 0 and 1 among them."""
    highest = 2**bits - 1
    return (images * highest).round() / highest


def median_filter(images: Tensor, window: int) -> Tensor:
    """The median of `window`×`window` pixels, each channel on its own; `window` is 2 or 3.

    As the authors' code has it, by `scipy.ndimage.median_filter`: a pixel is the lower right one of its 2×2 window,
    the larger of the two middle values is the median, and beyond the border stands the border's own pixel.
    """
    before, after = window // 2, (window - 1) // 2
    padded = functional.pad(images, (before, after, before, after), mode="replicate")
    windows = padded.unfold(2, window, 1).unfold(3, window, 1).flatten(4)
    return windows.kthvalue(window**2 // 2 + 1, dim=4).values
