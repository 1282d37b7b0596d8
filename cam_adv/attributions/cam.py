"""Class activation maps of networks that end in global average pooling and one linear layer.

Zhou et al. 2016 (arXiv 1512.04150), eq. 2: CAM_c(i, j) = Σ_k w_ck A_k(i, j), the sum over *all* channels.
With b the linear layer's bias, logit_c = mean over (i, j) of CAM_c + b_c.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.capture import record_calls

TOLERANCE = 1e-4
"""Largest allowed |logit_c − mean(CAM_c) − b_c|."""


@dataclass(frozen=True)
class CAMHead:
    """The end of a network that has an exact CAM.

    layer: its output is the last feature map A, before global average pooling.
    linear: the linear layer from the pooled features to the logits.
    """

    layer: nn.Module
    linear: nn.Linear


def class_activation_maps(feature_map: Tensor, weight: Tensor) -> Tensor:
    """CAM of every class: Σ_k w_ck A_k(i, j).

    Args:
        feature_map: A, `(N, K, h, w)`.
        weight: w of the linear layer, `(C, K)`.

    Returns:
        Raw signed maps `(N, C, h, w)`, in logits per position.
    """
    return torch.einsum("nkhw,ck->nchw", feature_map, weight)


@torch.no_grad()
def find_cam_head(network: nn.Module, images: Tensor) -> CAMHead | None:
    """Find the feature map whose spatial mean is the input of the network's last linear layer.

    Args:
        network: any classifier.
        images: a few images `(N, C, H, W)` for one forward pass.

    Returns:
        The first module whose output fits (so before pooling) and the linear layer. None if the network does not
        end in global average pooling and one linear layer, or if its feature map has a single position and so
        contains no spatial information.
    """
    with record_calls(network.modules()) as calls:
        logits = network(images)
    linear_calls = [call for call in calls if isinstance(call.module, nn.Linear) and call.inputs[0].dim() == 2]
    if not linear_calls:
        return None
    linear, (pooled, *_), output = linear_calls[-1]
    if output.shape != logits.shape or not torch.equal(output, logits):
        return None
    assert isinstance(linear, nn.Linear)
    for call in calls:
        feature_map = call.output
        if (
            isinstance(feature_map, Tensor)
            and feature_map.dim() == 4
            and feature_map[0, 0].numel() > 1
            and feature_map.shape[1] == pooled.shape[1]
            and torch.allclose(feature_map.mean(dim=(2, 3)), pooled, rtol=1e-4, atol=1e-5)
        ):
            return CAMHead(call.module, linear)
    return None


def logits_and_feature_map(network: nn.Module, cam_head: CAMHead, images: Tensor) -> tuple[Tensor, Tensor]:
    """One forward pass: logits `(N, C)` and the feature map A `(N, K, h, w)`, both with their autograd history."""
    with record_calls([cam_head.layer]) as calls:
        logits = network(images)
    return logits, calls[-1].output


@torch.no_grad()
def checked_cams(network: nn.Module, cam_head: CAMHead, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and raw CAMs of all classes from one forward pass; checks that the maps add up to the logits.

    Args:
        network: the classifier in which `cam_head` was found.
        cam_head: from `find_cam_head`.
        images: `(N, C, H, W)` in [0, 1].

    Returns:
        Logits `(N, K)` and maps `(N, K, h, w)` at the feature map's own resolution.

    Raises:
        UserError: logit_c = mean(CAM_c) + b_c fails by more than `TOLERANCE`.
    """
    logits, feature_map = logits_and_feature_map(network, cam_head, images)
    maps = class_activation_maps(feature_map, cam_head.linear.weight)
    bias = 0 if cam_head.linear.bias is None else cam_head.linear.bias
    error = (logits - maps.double().mean(dim=(2, 3)) - bias).abs().amax().item()
    if not error <= TOLERANCE:
        raise UserError(
            f"The maps do not explain this network: logit = mean(CAM) + bias is off by {error:.2g}.",
            "Use a victim that does nothing between global average pooling, its linear layer and the logits.",
        )
    return logits, maps
