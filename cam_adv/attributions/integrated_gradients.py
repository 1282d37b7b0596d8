"""Integrated gradients: the contribution of each pixel to the logit, along a straight line from a baseline image."""

import numpy as np
import torch
from torch import Tensor

from cam_adv.attributions.layer_target import LayerTarget, logit_of
from cam_adv.models.modes import eval_mode, gradients_enabled, without_history
from cam_adv.models.output_checks import check_logits


def integrated_gradients(
    layer_target: LayerTarget, images: Tensor, label: Tensor, target: Tensor, *, baseline: float, steps: int
) -> Tensor:
    """(x − x0) ∘ ∫ ∂logit_y/∂x (x0 + a(x − x0)) da, a in [0, 1] (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1).

    The sum over an image is logit_y(x) − logit_y(x0), up to the error of the integral, which is evaluated by
    Gauss-Legendre quadrature. The target's layer is not used.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        label: y, `(N,)`.
        target: not used.
        baseline: the value of every pixel of x0.
        steps: number of quadrature points, at each of which a gradient is computed.

    Returns:
        Signed maps `(N, H, W)` over pixels, summed over the image's channels, in logits.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    with eval_mode(layer_target.network), gradients_enabled():
        label = without_history(label)
        offset = without_history(images).contiguous() - baseline
        gradient = torch.zeros_like(offset)
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
            point = (baseline + (1 + node) / 2 * offset).requires_grad_()
            logits = check_logits(layer_target.network(point), len(images), None, "The network")
            (point_gradient,) = torch.autograd.grad(logit_of(logits, label).sum(), point)
            gradient += weight / 2 * point_gradient
        return (offset * gradient).sum(dim=1)
