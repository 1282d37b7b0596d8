"""CLEVER: an estimate of the smallest perturbation that changes a prediction (Weng et al. 2018, arXiv 1801.10578).

If the margin g_j = logit_y − logit_j has gradients of dual norm L at most in a ball around x, no perturbation shorter
than g_j(x)/L makes the network prefer j to y. This would be a certificate if L were known. CLEVER estimates L from
gradients at random points of the ball, so it is only an estimate: in high dimension no sample comes near the point
with the largest gradient, and the bound may be too large.

The points are not clipped: the ball is sampled as it is, also outside [0, 1]. The largest gradient over the part
inside [0, 1] is not larger than that over the ball, so what holds for the ball holds for images.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.models.lp_balls import DUAL, Norm, lp_norm, uniform_in_ball
from cam_adv.models.predictions import batched_apply
from cam_adv.studies.min_perturbation.weibull import fit_reverse_weibull

POINTS_PER_PASS = 256
"""Points whose gradients are computed at once. Measured on a CPU: larger values are not faster per point."""


@dataclass(frozen=True)
class CleverEstimate:
    """One row for each image, one column for each class; the column of y itself is inf or NaN.

    targeted: the bound for each class, at most the ball's radius, `(N, K)`.
    margin: logit_y − logit_j, `(N, K)`.
    lipschitz: estimate of the largest gradient of the margin in the ball, in the dual norm, `(N, K)`.
    ks_distance, p_value: of the fit, by Kolmogorov and Smirnov; see `WeibullFit`, `(N, K)`.
    """

    targeted: Tensor
    margin: Tensor
    lipschitz: Tensor
    ks_distance: Tensor
    p_value: Tensor

    @property
    def untargeted(self) -> Tensor:
        """The smallest bound over all other classes, `(N,)`."""
        return self.targeted.amin(dim=1)

    @property
    def nearest_class(self) -> Tensor:
        """The class of the smallest margin by gradient, `(N,)`: that of the untargeted bound.

        It is also defined where the radius limits the bounds of several classes.
        """
        return (self.margin / self.lipschitz).nan_to_num(nan=math.inf).argmin(dim=1)


def clever(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    norm: Norm,
    radius: float,
    batches: int,
    samples: int,
    shape_penalty: float,
    generator: torch.Generator,
    on_batches: Callable[[int], None] = lambda count: None,
) -> CleverEstimate:
    """Estimate for each image and each other class the perturbation up to which the network prefers y to it.

    The gradients of all margins are taken at the same points: one forward pass, and one backward pass for each class.

    Args:
        network: images `(N, C, H, W)` to logits `(N, K)`, in eval mode; its weights get no gradients here.
        x: `(N, C, H, W)` in [0, 1].
        y: labels whose predictions are bounded, `(N,)`. Where the network predicts another label, the bound is 0.
        norm: of the perturbation.
        radius: of the ball in which gradients are sampled, uniformly by volume.
        batches: of points; each contributes one maximum to the fit.
        samples: points in a batch.
        shape_penalty: see `fit_reverse_weibull`.
        generator: on the CPU. Points are drawn image by image, whatever `POINTS_PER_PASS`.
        on_batches: called with the number of batches whose gradients have been computed since the last call.
    """
    logits = batched_apply(network, x, x.device)
    labels = y.cpu()
    margin = logits.gather(1, labels[:, None]) - logits
    maxima = gradient_maxima(network, x, y, norm, radius, batches, samples, generator, on_batches)
    fit = fit_reverse_weibull(maxima.flatten(0, 1), shape_penalty)
    own_class = functional.one_hot(labels, logits.shape[1]).bool()
    lipschitz, ks_distance, p_value = (
        values.float().reshape(logits.shape).masked_fill(own_class, math.nan)
        for values in (fit.location, fit.ks_distance, fit.p_value)
    )
    bound = (margin.clamp(min=0) / lipschitz).clamp(max=radius)
    bound = bound.where(margin > 0, 0.0).masked_fill(own_class, math.inf)
    return CleverEstimate(bound, margin.masked_fill(own_class, math.nan), lipschitz, ks_distance, p_value)


def gradient_maxima(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    norm: Norm,
    radius: float,
    batches: int,
    samples: int,
    generator: torch.Generator,
    on_batches: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """The largest dual norm of each margin's gradient in each batch of points, `(N, K, batches)` on the CPU.

    Arguments as for `clever`; the margin of y over itself has gradient 0.
    """
    batches_per_pass = max(1, POINTS_PER_PASS // samples)
    maxima = []
    for rows in torch.arange(len(x), device=x.device).repeat_interleave(batches).split(batches_per_pass):
        offset = torch.cat([uniform_in_ball(samples, x[0].numel(), norm, generator) for _ in rows])
        image = rows.repeat_interleave(samples)
        points = x[image] + radius * offset.to(x).reshape(-1, *x.shape[1:])
        norms = _margin_gradient_norms(network, points, y[image], DUAL[norm])
        maxima.append(norms.unflatten(0, (len(rows), samples)).amax(dim=1).cpu())
        on_batches(len(rows))
    return torch.cat(maxima).unflatten(0, (len(x), batches)).transpose(1, 2)


def _margin_gradient_norms(network: nn.Module, points: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """The norm of the gradient of logit_y − logit_j at each point for each j, `(n, K)`."""
    with torch.enable_grad():
        leaf = points.requires_grad_()
        logits = network(leaf)
        own = logits.gather(1, y[:, None])
        norms = torch.zeros_like(logits, requires_grad=False)
        num_classes = logits.shape[1]
        for shift in range(1, num_classes):  # the other classes of each point, in cyclic order from its y
            other = (y[:, None] + shift) % num_classes
            margin = (own - logits.gather(1, other)).sum()
            (gradient,) = torch.autograd.grad(margin, leaf, retain_graph=shift < num_classes - 1)
            norms.scatter_(1, other, lp_norm(gradient, norm)[:, None])
    return norms
