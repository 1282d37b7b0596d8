"""Does the network need what a map points at? Pixels are erased, or put back, in the map's order."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import gaussian_blur

from cam_adv.networks.predictions import in_batches


@dataclass(frozen=True)
class ErasureCurves:
    """The margin along the way (Petsiuk et al. 2018, arXiv 1806.07421, with the margin for the probability).

    fractions: of pixels erased or put back, `(S + 1,)`, from 0 to 1.
    deletion: margin of the image with its highest pixels erased, `(N, S + 1)`: falls fast under a map that is right.
    insertion: margin of the baseline with its highest pixels put back, `(N, S + 1)`: rises fast under such a map.
    """

    fractions: Tensor
    deletion: Tensor
    insertion: Tensor

    @property
    def deletion_area(self) -> Tensor:
        """Mean margin over the fractions erased, by trapezoids, `(N,)`: less is better."""
        return torch.trapezoid(self.deletion, self.fractions, dim=1)

    @property
    def insertion_area(self) -> Tensor:
        """Mean margin over the fractions put back, by trapezoids, `(N,)`: more is better."""
        return torch.trapezoid(self.insertion, self.fractions, dim=1)


def erasure_curves(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    baseline: Tensor,
    maps: Tensor,
    label: Tensor,
    target: Tensor | None,
    steps: int,
    generator: torch.Generator,
    device: torch.device,
) -> ErasureCurves:
    """Deletion and insertion in `steps` steps.

    Args:
        network: images in [0, 1] to logits `(N, K)`, in eval mode and on `device`.
        images: `(N, C, H, W)` in [0, 1].
        baseline: what stands where a pixel is erased, of the images' shape: `black` or `blurred`.
        maps: raw maps `(N, h, w)`; a pixel has the value of the position that covers it.
        label: y, `(N,)`.
        target: the class y' whose logit is subtracted, `(N,)`; the highest other one's where None.
        steps: equal steps from no pixel to all of them.
        generator: on the CPU, draws the order among pixels of equal value.
    """
    rank = erasure_order(maps, images.shape[2:], generator).unsqueeze(1)
    counts = [round(step * rank[0].numel() / steps) for step in range(steps + 1)]

    def margins(inside: Tensor, outside: Tensor) -> Tensor:
        """Margin for each count, where the highest pixels are from `inside` and the others from `outside`."""
        pictures = (torch.where(rank < count, inside, outside) for count in counts)
        return torch.stack([margin(in_batches(network, part, device), label, target) for part in pictures], dim=1)

    fractions = torch.tensor(counts, dtype=images.dtype) / rank[0].numel()
    return ErasureCurves(fractions, deletion=margins(baseline, images), insertion=margins(images, baseline))


def erasure_order(maps: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Rank of every pixel under a map, 0 the highest; equal ones in an order drawn by the generator.

    Returns:
        `(N, H, W)`: each map holds every rank once.
    """
    # Bilinear enlarging would break ties by its rounding, and draw a pattern into a map that is the same everywhere.
    values = interpolate(maps.unsqueeze(1), size, mode="nearest-exact").flatten(1)
    drawn = torch.rand(values.shape, generator=generator).argsort(dim=1).to(values.device)
    order = values.gather(1, drawn).argsort(dim=1, descending=True, stable=True)
    return drawn.gather(1, order).argsort(dim=1).unflatten(1, size)


def margin(logits: Tensor, label: Tensor, target: Tensor | None) -> Tensor:
    """logit_y − logit_y', or less the highest other logit where there is no target: `(N,)`.

    Args:
        logits: `(N, K)`.
        label: y, `(N,)`.
        target: y', `(N,)`.
    """
    own = logits.gather(1, label.unsqueeze(1)).squeeze(1)
    if target is not None:
        return own - logits.gather(1, target.unsqueeze(1)).squeeze(1)
    return own - logits.scatter(1, label.unsqueeze(1), -math.inf).amax(dim=1)


def black(images: Tensor) -> Tensor:
    """The baseline without light. On dark ground only erasing what is drawn changes anything."""
    return torch.zeros_like(images)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """The baseline without detail: no edges arise where pixels are erased, but a shadow of the image stays.

    Args:
        images: `(N, C, H, W)`.
        sigma: standard deviation of the Gaussian, in pixels.
    """
    reach = min(math.ceil(3 * sigma), min(images.shape[2:]) - 1)  # the border is mirrored, once at most
    return gaussian_blur(images, [2 * reach + 1] * 2, [sigma, sigma])
