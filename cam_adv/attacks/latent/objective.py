"""The objective of a latent attack: its terms for each sample, and their weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.attacks.latent.penalty import log_odds_of
from cam_adv.models.generators.base import Generator
from cam_adv.schema.fields import NotNegative, StrictModel


class ExplanationConstraint(Protocol):
    """What an explanation of each x must remain: `CAMConstraint`, or `InterpretationConstraint`."""

    def rows(self, chosen: Tensor) -> Self:
        """The constraint of some of the samples, by their indices `(n,)`."""
        ...

    def logits_and_change(self, victim: nn.Module, images: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `(N, K)` by which the victim's criterion is decided, and the change of the map since x, `(N,)`."""
        ...


class LossWeights(StrictModel):
    """Factors of the terms of the objective; the victim's factor is each sample's multiplier k.

    f2: of J_2 = E CE(f2(z + spread·sigma·eps), y'), the loss of the latent classifier.
    surrogates: of the mean cross-entropy against y' of the queried proxies on G(z).
    discriminator: of BCE(D(z), 1): the discriminator must take the code for a sample of the prior.
    density: of the nats by which z is less likely than the median code of real images of y'; see `LatentDensity`.
    norm: of ‖z‖₂: the code must not go where the discriminator was not trained.
    cam: of 1 − the centred cosine similarity of CAM_y(G(z)) and CAM_y(x), or of an interpretation's averaged maps; 0:
        no CAM is computed.
    """

    f2: NotNegative
    surrogates: NotNegative
    discriminator: NotNegative
    norm: NotNegative
    density: NotNegative = 0.0
    cam: NotNegative = 0.0


@dataclass(frozen=True)
class Terms:
    """The terms of the objective at codes z, each `(N,)`.

    y stands for the victim's label and y' for the perceived label, as in a Type I attack.

    log_odds: the victim's log-odds of y; see `InterpretationConstraint` for an attack on an interpretation.
    f2: J_2.
    surrogates: mean cross-entropy against y' of the queried proxies.
    discriminator: BCE(D(z), 1).
    norm: ‖z‖₂.
    proxy_log_probs: `(N, P)`, the latest log-probabilities of y' of the P proxies, or of f2 without proxies.
    density: nats by which z is less likely than the median code of y'; None without this term.
    cam: change of the constrained map since x, in [0, 2]; None without a constraint on an explanation.
    """

    log_odds: Tensor
    f2: Tensor
    surrogates: Tensor
    discriminator: Tensor
    norm: Tensor
    proxy_log_probs: Tensor
    density: Tensor | None = None
    cam: Tensor | None = None

    @property
    def proxy_log_prob(self) -> Tensor:
        """Log of the proxies' mean probability of y', `(N,)`."""
        return self.proxy_log_probs.exp().mean(dim=1).log()

    def detach(self) -> "Terms":
        """The same values without the graph."""
        return self._map(Tensor.detach)

    def rows(self, chosen: Tensor) -> "Terms":
        """The terms of the samples selected by the mask `chosen`, `(N,)` bool."""
        return self._map(lambda value: value[chosen])

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Terms":
        return replace(self, **{name: function(value) for name, value in vars(self).items() if value is not None})

    def named(self) -> dict[str, Tensor]:
        """The terms by their names in figures and files."""
        optional = {"density": self.density, "cam": self.cam}
        return {
            "J1 victim": functional.softplus(-self.log_odds),
            "J2 f2": self.f2,
            "surrogates": -self.proxy_log_probs.mean(dim=1),
            "discriminator": self.discriminator,
            "norm": self.norm,
        } | {name: value for name, value in optional.items() if value is not None}

    def total(self, weights: LossWeights, victim: Tensor) -> Tensor:
        """The objective of each sample, `(N,)`: the weighted sum of the terms plus the victim's part `(N,)`.

        A term of weight 0 is left out, so that no gradient of 0 is computed.
        """
        weighted = {name: getattr(weights, name) for name in LossWeights.model_fields}
        return sum((weight * getattr(self, name) for name, weight in weighted.items() if weight), victim)


def evaluate(
    victim: nn.Module,
    generator: Generator,
    proxies: Sequence[nn.Module],
    codes: Tensor,
    images: Tensor,
    std: Tensor,
    victim_label: Tensor,
    perceived_label: Tensor,
    eps: Tensor,
    view: Callable[[Tensor], Tensor] = lambda images: images,
    density: LatentDensity | None = None,
    constraint: ExplanationConstraint | None = None,
) -> Terms:
    """All terms at codes z, in the dtype of z even if the networks compute in mixed precision.

    Args:
        victim: f1, images to logits.
        generator: G, f2 and D.
        proxies: the queried proxies, images to logits; may be empty.
        codes: z, `(N, D)`.
        images: x' of these codes, `(N, C, H, W)` in [0, 1].
        std: standard deviation of the neighbourhood of z over which f2's loss is averaged, `(N, D)`.
        victim_label: what the victim must predict, `(N,)`.
        perceived_label: what f2 and the proxies must predict, `(N,)`.
        eps: standard normal draws `(S, D)`, shared by the samples so that no sample depends on the batch.
        view: augmentation of the images `(N, C, H, W)` for the proxies; the victim gets them unchanged.
        density: of real codes, if the attack keeps its codes near them.
        constraint: on an explanation, if the attack keeps it as it is for the images x.
    """
    neighbours = codes.unsqueeze(1) + std.unsqueeze(1) * eps.unsqueeze(0)
    f2_log_probs = _log_prob(
        generator.classifier(neighbours.flatten(0, 1)).to(codes.dtype), perceived_label.repeat_interleave(len(eps))
    )
    f2 = f2_log_probs.unflatten(0, (len(codes), len(eps))).mean(dim=1)
    views = view(images)
    log_probs = torch.stack([_log_prob(proxy(views).to(codes.dtype), perceived_label) for proxy in proxies] or [f2])
    if constraint is None:
        logits, cam = victim(images), None
    else:
        logits, cam = constraint.logits_and_change(victim, images, victim_label)
        cam = cam.to(codes.dtype)
    return Terms(
        log_odds=log_odds_of(logits.to(codes.dtype), victim_label),
        f2=-f2,
        surrogates=-log_probs.mean(dim=0),
        discriminator=functional.softplus(-generator.discriminator(codes).squeeze(1).to(codes.dtype)),
        norm=codes.norm(dim=1),
        proxy_log_probs=log_probs.T,
        density=None if density is None else density.excess(codes, perceived_label),
        cam=cam,
    )


def _log_prob(logits: Tensor, label: Tensor) -> Tensor:
    return -functional.cross_entropy(logits, label, reduction="none")
