"""Integrated gradients: what each pixel adds to the logit on the straight way from a blank image."""

import numpy as np
import torch
from torch import Tensor

from cam_adv.explanation.subject import Subject, as_in_use, logit_of


def integrated_gradients(
    subject: Subject, images: Tensor, label: Tensor, target: Tensor, *, baseline: float, steps: int
) -> Tensor:
    """(x − x0) ∘ ∫ ∂logit_y/∂x (x0 + a(x − x0)) da, a in [0, 1] (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1).

    The sum over an image is logit_y(x) − logit_y(x0), as near as the integral is, which Gauss and Legendre's rule
    evaluates. The subject's layer is not asked.

    Args:
        images: `(N, C, H, W)` in [0, 1].
        label: y, `(N,)`.
        target: not asked.
        baseline: every pixel of x0.
        steps: points at which the gradient is taken.

    Returns:
        Signed maps `(N, H, W)` of pixels, summed over the image's channels, in logits.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    way = images - baseline
    gradient = torch.zeros_like(images)
    with as_in_use(subject.network), torch.enable_grad():
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
            point = (baseline + (1 + node) / 2 * way).requires_grad_()
            (here,) = torch.autograd.grad(logit_of(subject.network(point), label).sum(), point)
            gradient += weight / 2 * here
    return (way * gradient).sum(dim=1)
