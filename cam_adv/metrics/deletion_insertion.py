"""Deletion and insertion: the margin while pixels are deleted, or inserted, in the order of an attribution map."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import gaussian_blur

from cam_adv.models.predictions import batched_apply


@dataclass(frozen=True)
class DeletionInsertionCurves:
    """Margins along the curves (Petsiuk et al. 2018, arXiv 1806.07421, with the margin in place of the probability).

    fractions: of pixels deleted or inserted, `(S + 1,)`, from 0 to 1.
    deletion: margin of the image with its highest pixels deleted, `(N, S + 1)`: falls fast for a faithful map.
    insertion: margin of the baseline with its highest pixels inserted, `(N, S + 1)`: rises fast for a faithful map.
    """

    fractions: Tensor
    deletion: Tensor
    insertion: Tensor

    @property
    def deletion_area(self) -> Tensor:
        """Mean margin over the fractions deleted, by the trapezoidal rule, `(N,)`: lower is better."""
        return torch.trapezoid(self.deletion, self.fractions, dim=1)

    @property
    def insertion_area(self) -> Tensor:
        """Mean margin over the fractions inserted, by the trapezoidal rule, `(N,)`: higher is better."""
        return torch.trapezoid(self.insertion, self.fractions, dim=1)


def deletion_insertion_curves(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    baseline: Tensor,
    maps: Tensor,
    label: Tensor,
    target: Tensor | None,
    steps: int,
    generator: torch.Generator,
    device: torch.device,
) -> DeletionInsertionCurves:
    """Deletion and insertion in `steps` steps.

    Args:
        network: images in [0, 1] to logits `(N, K)`, in eval mode and on `device`.
        images: `(N, C, H, W)` in [0, 1].
        baseline: the values of deleted pixels, of the images' shape: from `black` or `blurred`.
        maps: raw maps `(N, h, w)`; a pixel has the value of the position that covers it.
        label: y, `(N,)`.
        target: the class y' whose logit is subtracted, `(N,)`; if None, the highest logit of the other classes.
        steps: equal steps from no pixel to all pixels.
        generator: on the CPU; for the order among pixels of equal value.
    """
    rank = deletion_order(maps, images.shape[2:], generator).unsqueeze(1)
    counts = [round(step * rank[0].numel() / steps) for step in range(steps + 1)]

    def margins(highest: Tensor, others: Tensor) -> Tensor:
        """Margin for each count, with the highest pixels from `highest` and all others from `others`."""
        mixtures = (torch.where(rank < count, highest, others) for count in counts)
        return torch.stack(
            [margin(batched_apply(network, mixed, device), label, target) for mixed in mixtures], dim=1
        )

    fractions = torch.tensor(counts, dtype=images.dtype) / rank[0].numel()
    return DeletionInsertionCurves(fractions, deletion=margins(baseline, images), insertion=margins(images, baseline))


def deletion_order(maps: Tensor, size: Sequence[int], generator: torch.Generator) -> Tensor:
    """Rank of every pixel in a map, 0 for the highest; ties are ordered at random.

    Args:
        maps: `(N, h, w)`.
        size: H and W.
        generator: on the CPU.

    Returns:
        `(N, H, W)`: each map contains every rank once.
    """
    # Bilinear resizing would break ties by its rounding, and give a constant map a pattern.
    values = interpolate(maps.unsqueeze(1), size, mode="nearest-exact").flatten(1)
    shuffled = torch.rand(values.shape, generator=generator).argsort(dim=1).to(values.device)
    order = values.gather(1, shuffled).argsort(dim=1, descending=True, stable=True)
    return shuffled.gather(1, order).argsort(dim=1).unflatten(1, tuple(size))


def margin(logits: Tensor, label: Tensor, target: Tensor | None) -> Tensor:
    """logit_y − logit_y', or logit_y less the highest logit of the other classes if there is no target: `(N,)`.

    Args:
        logits: `(N, K)`.
        label: y, `(N,)`.
        target: y', `(N,)`.
    """
    label_logit = logits.gather(1, label.unsqueeze(1)).squeeze(1)
    if target is not None:
        return label_logit - logits.gather(1, target.unsqueeze(1)).squeeze(1)
    return label_logit - logits.scatter(1, label.unsqueeze(1), -math.inf).amax(dim=1)


def black(images: Tensor) -> Tensor:
    """The baseline of zeros. On a dark background, only the deletion of bright strokes has an effect."""
    return torch.zeros_like(images)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """The baseline without detail: deleted pixels leave no sharp edges, but a blurred image remains.

    Args:
        images: `(N, C, H, W)`.
        sigma: standard deviation of the Gaussian, in pixels.
    """
    reach = min(math.ceil(3 * sigma), min(images.shape[2:]) - 1)  # reflected at the border, at most once
    return gaussian_blur(images, [2 * reach + 1] * 2, [sigma, sigma])
