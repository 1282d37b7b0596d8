"""Class activation maps of networks that end in global average pooling and one linear layer.

Zhou et al. 2016 (arXiv 1512.04150), eq. 2: CAM_c(i, j) = Σ_k w_ck A_k(i, j), the sum over *all* channels.
With b the linear layer's bias, logit_c = mean over (i, j) of CAM_c + b_c.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.capture import ModuleCall, edit_maps, is_maps, record_calls
from cam_adv.models.output_checks import RELATIVE_TOLERANCE
from cam_adv.models.predictions import batch_size

TOLERANCE = 1e-4
"""Largest allowed |logit_c − mean(CAM_c) − b_c|, relative to the largest logit where that exceeds 1."""

FEW = 8
"""Images with which the layer is searched."""

STRETCH = 10.0
"""Size of the maps that are tried in place of a layer's own, relative to these: beyond any clipping."""


@dataclass(frozen=True)
class CAMHead:
    """The end of a network that has an exact CAM.

    layer: its output is the last feature map A, before global average pooling.
    linear: the linear layer from the pooled features to the logits.
    at_input: A is the layer's input instead, where no layer puts it out (after a ReLU that is a function).
    """

    layer: nn.Module
    linear: nn.Linear
    at_input: bool = False


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
    """Find the feature map on which a network's logits depend through its spatial mean and one linear layer alone.

    A layer is tried: other maps, of any sign and size, take the place of its own, and the logits must follow. So
    nothing after it is overlooked, not even what changes nothing for these images, such as a ReLU of positive maps.

    Args:
        network: any classifier, in evaluation mode.
        images: `(N, C, H, W)`, best of all classes, for all of which the maps must add up to the logits.

    Returns:
        The last layer that fits, that is the nearest to the pooling, and the linear layer. None if the network does
        not end in global average pooling and one linear layer; if its feature map has a single position and so
        contains no spatial information; or if no layer puts out or takes in its feature map.
    """
    few = images[:FEW]
    with record_calls(part for part in network.modules() if not isinstance(part, torch.jit.ScriptModule)) as calls:
        logits = network(few)
    last = next((call for call in reversed(calls) if _is_linear(call)), None)
    if last is None or not isinstance(logits, Tensor) or not torch.equal(last.output, logits):
        return None
    linear, pooled = last.module, last.inputs[0]
    assert isinstance(linear, nn.Linear)
    heads = [CAMHead(call.module, linear) for call in reversed(calls) if _has_mean(call.output, pooled)]
    heads += [
        CAMHead(call.module, linear, at_input=True)
        for call in reversed(calls)
        if call.inputs and _has_mean(call.inputs[0], pooled)
    ]
    parts = images.split(batch_size(images[0].numel()))
    for head in heads:
        errors = (_cams(network, head, part)[2] for part in parts)
        if _follows_other_maps(network, head, few) and all(error <= TOLERANCE for error in errors):
            return head
    return None


def logits_and_feature_map(network: nn.Module, cam_head: CAMHead, images: Tensor) -> tuple[Tensor, Tensor]:
    """One forward pass: logits `(N, C)` and the feature map A `(N, K, h, w)`, both with their autograd history."""
    maps: list[Tensor] = []

    def keep(found: Tensor) -> Tensor:
        maps.append(found)
        return found.clone()  # later layers may work in place

    with edit_maps(cam_head.layer, cam_head.at_input, keep):
        logits = network(images)
    return logits, maps[-1]


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
    logits, maps, error = _cams(network, cam_head, images)
    if not error <= TOLERANCE:
        raise UserError(
            f"The maps do not explain this network: logit = mean(CAM) + bias is off by {error:.2g}.",
            "Use a victim that does nothing between global average pooling, its linear layer and the logits.",
        )
    return logits, maps


def _cams(network: nn.Module, head: CAMHead, images: Tensor) -> tuple[Tensor, Tensor, float]:
    """Logits `(N, K)`, maps `(N, K, h, w)`, and the error of logit_c = mean(CAM_c) + b_c; see `TOLERANCE`."""
    logits, feature_map = logits_and_feature_map(network, head, images)
    maps = class_activation_maps(feature_map, head.linear.weight)
    bias = 0 if head.linear.bias is None else head.linear.bias
    error = (logits - maps.double().mean(dim=(2, 3)) - bias).abs().amax() / logits.abs().amax().clamp(min=1)
    return logits, maps, error.item()


def _follows_other_maps(network: nn.Module, head: CAMHead, images: Tensor) -> bool:
    """Whether the logits are the linear layer's of the mean of any maps that take the place of the feature map."""
    tried: list[Tensor] = []

    def replace(maps: Tensor) -> Tensor:
        noise = torch.randn(maps.shape, generator=torch.Generator().manual_seed(0)).to(maps)
        tried.append(STRETCH * (1 + maps.abs().amax()) * noise)
        return tried[-1].clone()  # what follows may work in place

    with edit_maps(head.layer, head.at_input, replace):
        logits = network(images)
    expected = head.linear(tried[-1].mean(dim=(2, 3)))
    return torch.allclose(logits, expected, rtol=0, atol=RELATIVE_TOLERANCE * expected.abs().amax().item())


def _is_linear(call: ModuleCall) -> bool:
    """Whether this is a call of a linear layer with features `(N, K)`."""
    return (
        isinstance(call.module, nn.Linear)
        and len(call.inputs) > 0
        and isinstance(call.inputs[0], Tensor)
        and call.inputs[0].dim() == 2
    )


def _has_mean(value: object, pooled: Tensor) -> bool:
    """Whether this is a feature map with several positions whose spatial mean is `pooled` `(N, K)`."""
    return (
        is_maps(value)
        and value[0, 0].numel() > 1
        and value.shape[:2] == pooled.shape
        and torch.allclose(value.mean(dim=(2, 3)), pooled, rtol=1e-4, atol=1e-5)
    )
