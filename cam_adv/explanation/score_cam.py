"""Score-CAM: channels weighed by what the network says of the image seen through them, without gradients."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cam_adv.explanation.subject import Subject, as_in_use, logit_of


@torch.no_grad()
def score_cam(subject: Subject, images: Tensor, label: Tensor, target: Tensor, *, rectify: bool) -> Tensor:
    """Score-CAM: ReLU(Σ_k α_k A_k), α = softmax over k of logit_y(x ∘ H_k) (Wang et al. 2020, arXiv 1910.01279).

    H_k is A_k, bilinearly enlarged to the image and scaled to [0, 1], or 0 where it is flat. The paper's scores have
    the logit of a baseline subtracted, which the softmax cancels. One forward pass for each channel.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        label: y, `(N,)`.
        target: not asked.
        rectify: do the ReLU, without which the sum keeps its sign.

    Returns:
        Maps `(N, h, w)` at the resolution of the subject's layer.

    Raises:
        UserError: the subject's layer makes no maps.
    """
    maps = subject.logits_and_maps(images)[1].detach()
    with as_in_use(subject.network):
        scores = [
            logit_of(subject.network(images * _mask(channel.unsqueeze(1), images.shape[2:])), label)
            for channel in maps.unbind(dim=1)
        ]
    weight = torch.stack(scores, dim=1).softmax(dim=1)
    total = torch.einsum("nk,nkhw->nhw", weight, maps)
    return total.relu() if rectify else total


def _mask(channel: Tensor, size: torch.Size) -> Tensor:
    """H_k `(N, 1, H, W)` of A_k `(N, 1, h, w)`."""
    large = interpolate(channel, size, mode="bilinear", align_corners=False)
    low, high = large.amin(dim=(2, 3), keepdim=True), large.amax(dim=(2, 3), keepdim=True)
    return (large - low) / torch.where(high > low, high - low, 1.0)
