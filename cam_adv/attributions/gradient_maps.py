"""Attributions by the gradient G = ∂logit_y/∂A of the label's logit with respect to a layer's maps A.

All work at any layer of any differentiable network, and return raw maps `(N, h, w)` at the layer's resolution. At
the last maps of a network that ends in global average pooling and one linear layer, G_k(i, j) = w_yk / hw, so that
HiResCAM and the signed Grad-CAM equal CAM / hw there: they are no additional evidence.

The last step of Grad-CAM, Grad-CAM++ and LayerCAM is a ReLU of the sum. With `rectify=True` it is applied: the map is
the published one, and a map that is negative everywhere becomes zero. With `rectify=False` the sum keeps its sign.
"""

import torch
from torch import Tensor

from cam_adv.attributions.layer_target import LayerTarget, logit_of
from cam_adv.models.modes import gradients_enabled, without_history


def hires_cam(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """HiResCAM: Σ_k G_k A_k, position by position (Draelos and Carin 2020, arXiv 2011.08891). Signed, in logits.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        label: y, `(N,)`.
        target: not used.

    Raises:
        UserError: the output of the target's layer is not `(N, K, h, w)`.
    """
    maps, gradient = _maps_and_gradient(layer_target, images, label)
    return (gradient * maps).sum(dim=1)


def grad_cam(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor, *, rectify: bool) -> Tensor:
    """Grad-CAM: ReLU(Σ_k α_k A_k), α_k the mean of G_k (Selvaraju et al. 2017, arXiv 1610.02391, eq. 1 and 2).

    Args and raises as `hires_cam`.
    """
    maps, gradient = _maps_and_gradient(layer_target, images, label)
    return _weighted(gradient.mean(dim=(2, 3), keepdim=True), maps, rectify)


def grad_cam_pp(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor, *, rectify: bool) -> Tensor:
    """Grad-CAM++: ReLU(Σ_k w_k A_k) (Chattopadhyay et al. 2018, arXiv 1710.11063, for the score exp(logit)).

    w_k = Σ_ij α_k(i, j) ReLU(G_k(i, j)), α_k = G_k² / (2 G_k² + G_k³ Σ_ab A_k(a, b)), and 0 where that is 0/0. The
    factor exp(logit) of the score's derivative is left out: it is one number for each map and would dominate the
    differences between two maps.

    Args and raises as `hires_cam`.
    """
    maps, gradient = _maps_and_gradient(layer_target, images, label)
    square = gradient.square()
    denominator = 2 * square + square * gradient * maps.sum(dim=(2, 3), keepdim=True)
    alpha = torch.where(denominator == 0, 0.0, square / denominator)
    return _weighted((alpha * gradient.relu()).sum(dim=(2, 3), keepdim=True), maps, rectify)


def layer_cam(layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor, *, rectify: bool) -> Tensor:
    """LayerCAM: ReLU(Σ_k ReLU(G_k) A_k), position by position (Jiang et al. 2021, IEEE TIP 30).

    The inner ReLU drops every channel that counts against the class, so this differs from CAM even where HiResCAM
    equals it. The outer ReLU has no effect where A ≥ 0.

    Args and raises as `hires_cam`.
    """
    maps, gradient = _maps_and_gradient(layer_target, images, label)
    return _weighted(gradient.relu(), maps, rectify)


def _maps_and_gradient(layer_target: LayerTarget, images: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """A and G, both `(N, K, h, w)`."""
    with gradients_enabled():
        logits, maps = layer_target.logits_and_maps(without_history(images))
        logit = logit_of(logits, without_history(label))
        (gradient,) = torch.autograd.grad(logit.sum(), maps)  # leaves the weights' .grad alone
    return maps.detach(), gradient


def _weighted(weight: Tensor, maps: Tensor, rectify: bool) -> Tensor:
    total = (weight * maps).sum(dim=1)
    return total.relu() if rectify else total
