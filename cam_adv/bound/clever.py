"""CLEVER: an estimate of the least perturbation that takes an answer away (Weng et al. 2018, arXiv 1801.10578).

If the margin g_j = logit_y − logit_j has gradients of dual norm L at most in a ball around x, then no perturbation
shorter than g_j(x)/L makes the network prefer j to y. That would be a certificate, if L were known. CLEVER estimates
it from gradients at random points of the ball, so it is an estimate: in so many dimensions no sample comes near the
steepest point, and a bound may be too large.

Points are not clipped: the ball is taken as it is, also where it leaves [0, 1]. The largest gradient over the part
inside [0, 1] is no larger than that over the ball, so what holds for the ball holds for images.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.bound.balls import DUAL, length, uniform_in_ball
from cam_adv.bound.weibull import fit_reverse_weibull
from cam_adv.networks.predictions import in_batches
from cam_adv.settings import Norm

POINTS = 256
"""Points whose gradients are computed at once. Measured on a CPU: more cost no less for each."""


@dataclass(frozen=True)
class Clever:
    """One row for each image, one column for each class; in the column of y itself nothing bounds: inf or NaN.

    targeted: the bound for each class, at most the ball's radius, `(N, K)`.
    margin: logit_y − logit_j, `(N, K)`.
    lipschitz: the estimate of the margin's largest gradient in the ball, in the dual norm, `(N, K)`.
    distance, p: of the fit behind it, by Kolmogorov and Smirnov; see `WeibullFit`, `(N, K)`.
    """

    targeted: Tensor
    margin: Tensor
    lipschitz: Tensor
    distance: Tensor
    p: Tensor

    @property
    def untargeted(self) -> Tensor:
        """The smallest bound over all other classes, `(N,)`."""
        return self.targeted.amin(dim=1)

    @property
    def nearest(self) -> Tensor:
        """The class that has it, `(N,)`; where the radius limits several, that of the smallest margin by gradient."""
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
) -> Clever:
    """Estimate for each image and each other class how far the network keeps its answer y.

    Gradients of all margins are taken at the same points: one forward pass, and a backward pass for each class.

    Args:
        network: images `(N, C, H, W)` to logits `(N, K)`, in evaluation mode; its weights get no gradient from here.
        x: `(N, C, H, W)` in [0, 1].
        y: the answers that are bounded, `(N,)`. Where the network gives another, the bound is 0.
        norm: of the perturbation.
        radius: of the ball in which gradients are sampled, uniformly by volume.
        batches: of points; each gives one maximum to the fit.
        samples: points in a batch.
        shape_penalty: see `fit_reverse_weibull`.
        generator: on the CPU. Points are drawn image by image, however many are computed at once.
    """
    logits = in_batches(network, x, x.device)
    y_here = y.cpu()
    margin = logits.gather(1, y_here[:, None]) - logits
    maxima = gradient_maxima(network, x, y, norm, radius, batches, samples, generator)
    fit = fit_reverse_weibull(maxima.flatten(0, 1), shape_penalty)
    own = torch.nn.functional.one_hot(y_here, logits.shape[1]).bool()
    lipschitz, distance, p = (
        values.float().reshape(logits.shape).masked_fill(own, math.nan)
        for values in (fit.location, fit.distance, fit.p)
    )
    bound = (margin.clamp(min=0) / lipschitz).clamp(max=radius)
    bound = bound.where(margin > 0, 0.0).masked_fill(own, math.inf)
    return Clever(bound, margin.masked_fill(own, math.nan), lipschitz, distance, p)


def gradient_maxima(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    norm: Norm,
    radius: float,
    batches: int,
    samples: int,
    generator: torch.Generator,
) -> Tensor:
    """The largest dual norm of each margin's gradient in each batch of points, `(N, K, batches)` on the CPU.

    Arguments as for `clever`; the margin of y over itself has gradient 0.
    """
    per_pass = max(1, POINTS // samples)
    maxima = []
    for part in torch.arange(len(x), device=x.device).repeat_interleave(batches).split(per_pass):
        offset = torch.cat([uniform_in_ball(samples, x[0].numel(), norm, generator) for _ in part])
        owner = part.repeat_interleave(samples)
        points = x[owner] + radius * offset.to(x).reshape(-1, *x.shape[1:])
        lengths = _gradient_lengths(network, points, y[owner], DUAL[norm])
        maxima.append(lengths.unflatten(0, (len(part), samples)).amax(dim=1).cpu())
    return torch.cat(maxima).unflatten(0, (len(x), batches)).transpose(1, 2)


def _gradient_lengths(network: nn.Module, points: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """The norm of the gradient of logit_y − logit_j at each point for each j, `(n, K)`."""
    with torch.enable_grad():
        leaf = points.requires_grad_()
        logits = network(leaf)
        own = logits.gather(1, y[:, None])
        lengths = torch.zeros_like(logits, requires_grad=False)
        classes = logits.shape[1]
        for step in range(1, classes):  # each point's classes in its own order, so that none is y
            other = (y[:, None] + step) % classes
            margin = (own - logits.gather(1, other)).sum()
            (gradient,) = torch.autograd.grad(margin, leaf, retain_graph=step < classes - 1)
            lengths.scatter_(1, other, length(gradient, norm)[:, None])
    return lengths
