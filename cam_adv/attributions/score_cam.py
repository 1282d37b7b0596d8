"""Score-CAM: channels weighted by the logit of the image masked with them, without gradients."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cam_adv.attributions.layer_target import LayerTarget, logit_of
from cam_adv.models.modes import eval_mode


@torch.no_grad()
def score_cam(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor, *, rectify: bool) -> Tensor:
    """Score-CAM: ReLU(Σ_k α_k A_k), α = softmax over k of logit_y(x ∘ H_k) (Wang et al. 2020, arXiv 1910.01279).

    H_k is A_k, bilinearly resized to the image and scaled to [0, 1], or 0 if it is constant. The paper's scores
    subtract the logit of a baseline, which the softmax cancels. One forward pass for each channel.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        label: y, `(N,)`.
        target: not used.
        rectify: apply the ReLU; without it the sum keeps its sign.

    Returns:
        Maps `(N, h, w)` at the resolution of the target's layer.

    Raises:
        UserError: the output of the target's layer is not `(N, K, h, w)`.
    """
    images = images.contiguous()
    maps = layer_target.logits_and_maps(images)[1].detach()
    with eval_mode(layer_target.network):
        scores = [
            logit_of(layer_target.network(images * _mask(channel.unsqueeze(1), images.shape[2:])), label)
            for channel in maps.unbind(dim=1)
        ]
    weight = torch.stack(scores, dim=1).softmax(dim=1)
    total = torch.einsum("nk,nkhw->nhw", weight, maps)
    return total.relu() if rectify else total


def _mask(channel: Tensor, size: torch.Size) -> Tensor:
    """H_k `(N, 1, H, W)` of A_k `(N, 1, h, w)`."""
    resized = interpolate(channel, size, mode="bilinear", align_corners=False)
    low, high = resized.amin(dim=(2, 3), keepdim=True), resized.amax(dim=(2, 3), keepdim=True)
    return (resized - low) / torch.where(high > low, high - low, 1.0)
