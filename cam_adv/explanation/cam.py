"""Class activation maps of networks that end in global average pooling and one linear layer.

Zhou et al. 2016 (arXiv 1512.04150), eq. 2: CAM_c(i, j) = Σ_k w_ck A_k(i, j), the sum over *all* channels.
With b the linear layer's bias, logit_c = mean over (i, j) of CAM_c + b_c.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError

TOLERANCE = 1e-4
"""Largest allowed |logit_c − mean(CAM_c) − b_c|."""


@dataclass(frozen=True)
class GapLinear:
    """Where a network pools its last feature map and which linear layer reads it."""

    feature_map: nn.Module
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
def find_gap_linear(network: nn.Module, images: Tensor) -> GapLinear | None:
    """Look for the feature map whose spatial mean is what the network's last linear layer reads.

    Args:
        network: any classifier.
        images: a few images `(N, C, H, W)` to send through it.

    Returns:
        The module that makes the feature map (the first that fits, so before pooling) and the linear
        layer, or None where the network does not end in global average pooling and one linear layer, or
        where its map has a single position and so says nothing of where.
    """
    maps: list[tuple[nn.Module, Tensor]] = []
    reads: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def watch(module: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(module, nn.Linear) and inputs[0].dim() == 2:
            reads.append((module, inputs[0], output))
        elif isinstance(output, Tensor) and output.dim() == 4 and output[0, 0].numel() > 1:
            maps.append((module, output))

    hooks = [module.register_forward_hook(watch) for module in network.modules()]
    try:
        logits = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not reads or reads[-1][2].shape != logits.shape or not torch.equal(reads[-1][2], logits):
        return None
    linear, pooled, _ = reads[-1]
    for module, feature_map in maps:
        if feature_map.shape[1] == pooled.shape[1] and torch.allclose(
            feature_map.mean(dim=(2, 3)), pooled, rtol=1e-4, atol=1e-5
        ):
            return GapLinear(module, linear)
    return None


def logits_and_feature_map(network: nn.Module, place: GapLinear, images: Tensor) -> tuple[Tensor, Tensor]:
    """One forward pass: logits `(N, C)`, and the feature map A `(N, K, h, w)` on their way, with its history."""
    seen: list[Tensor] = []
    hook = place.feature_map.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        logits = network(images)
    finally:
        hook.remove()
    return logits, seen[-1]


@torch.no_grad()
def explain(network: nn.Module, place: GapLinear, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and raw CAMs of all classes from one forward pass, with the identity between them checked.

    Args:
        network: the classifier that `place` was found in.
        place: from `find_gap_linear`.
        images: `(N, C, H, W)` in [0, 1].

    Returns:
        Logits `(N, K)` and maps `(N, K, h, w)` at the feature map's own resolution.

    Raises:
        UserError: logit_c = mean(CAM_c) + b_c fails by more than `TOLERANCE`.
    """
    logits, feature_map = logits_and_feature_map(network, place, images)
    maps = class_activation_maps(feature_map, place.linear.weight)
    bias = 0 if place.linear.bias is None else place.linear.bias
    error = (logits - maps.double().mean(dim=(2, 3)) - bias).abs().amax().item()
    if not error <= TOLERANCE:
        raise UserError(
            f"The maps do not explain this network: logit = mean(CAM) + bias is off by {error:.2g}.",
            "Use a victim that does nothing between global average pooling, its linear layer and the logits.",
        )
    return logits, maps
