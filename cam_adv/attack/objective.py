"""What a latent attack minimises: the terms of the objective for each sample, and their weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attack.held_map import HeldMap
from cam_adv.attack.multiplier import log_odds_of
from cam_adv.networks.svae import SVAE
from cam_adv.settings import Weights


@dataclass(frozen=True)
class Terms:
    """The terms of the objective at codes z, each `(N,)`, and the pictures G(z) they were taken from.

    y and y' as in a Type I attack: what the victim is to say, and what all others are to see.

    log_odds: the victim's, of y; f2: J_2; surrogates: mean of CE against y' over those that were asked;
    beliefs: `(N, P)`, log-probabilities of y' that they, or f2 where there are none, were last known to give;
    cam: how far the victim's map of y is from where it was on x, None where nobody asks.
    """

    log_odds: Tensor
    f2: Tensor
    surrogates: Tensor
    discriminator: Tensor
    norm: Tensor
    beliefs: Tensor
    cam: Tensor | None = None

    @property
    def believed(self) -> Tensor:
        """Log of the mean probability of y', `(N,)`."""
        return self.beliefs.exp().mean(dim=1).log()

    def detach(self) -> "Terms":
        """The same values without their graph."""
        return Terms(*(None if value is None else value.detach() for value in vars(self).values()))

    def rows(self, chosen: Tensor) -> "Terms":
        """The terms of the samples that `chosen` `(N,)` is true for."""
        return Terms(*(None if value is None else value[chosen] for value in vars(self).values()))

    def named(self) -> dict[str, Tensor]:
        """The terms by the names that curves and files give them."""
        return {
            "J1 victim": functional.softplus(-self.log_odds),
            "J2 f2": self.f2,
            "surrogates": -self.beliefs.mean(dim=1),
            "discriminator": self.discriminator,
            "norm": self.norm,
        } | ({} if self.cam is None else {"cam": self.cam})

    def total(self, weights: Weights, victim: Tensor) -> Tensor:
        """The objective of each sample, `(N,)`: the weighted terms and the victim's part, `(N,)`."""
        return (
            weights.f2 * self.f2
            + weights.surrogates * self.surrogates
            + weights.discriminator * self.discriminator
            + weights.norm * self.norm
            + (0 if self.cam is None else weights.cam * self.cam)
            + victim
        )


def evaluate(
    victim: nn.Module,
    generator: SVAE,
    surrogates: Sequence[nn.Module],
    codes: Tensor,
    deviation: Tensor,
    y: Tensor,
    target: Tensor,
    eps: Tensor,
    view: Callable[[Tensor], Tensor] = lambda images: images,
    held_map: HeldMap | None = None,
) -> Terms:
    """All terms at codes z, in the precision of z also where mixed precision computes the networks.

    Args:
        victim: f1, images to logits.
        generator: G, f2 and D.
        surrogates: those asked of the image classifiers that stand in for a person, images to logits; may be none.
        codes: z, `(N, D)`.
        deviation: half-width of the neighbourhood of z that f2 answers for, `(N, D)`.
        y: what the victim is to say, `(N,)`.
        target: what all others are to see, `(N,)`.
        eps: standard normal draws `(S, D)`, shared by the samples so that no sample depends on the batch.
        view: how the surrogates see images `(N, C, H, W)`; the victim sees them as they are.
        held_map: the map of y that the victim is to keep, if any.
    """
    images = generator.generate(codes)
    cloud = codes.unsqueeze(1) + deviation.unsqueeze(1) * eps.unsqueeze(0)
    f2_log_probs = _log_prob(
        generator.classifier(cloud.flatten(0, 1)).to(codes.dtype), target.repeat_interleave(len(eps))
    )
    f2 = f2_log_probs.unflatten(0, (len(codes), len(eps))).mean(dim=1)
    seen = view(images)
    views = torch.stack([_log_prob(network(seen).to(codes.dtype), target) for network in surrogates] or [f2])
    logits, moved = (victim(images), None) if held_map is None else held_map.logits_and_move(victim, images, y)
    return Terms(
        log_odds=log_odds_of(logits.to(codes.dtype), y),
        f2=-f2,
        surrogates=-views.mean(dim=0),
        discriminator=functional.softplus(-generator.discriminator(codes).squeeze(1).to(codes.dtype)),
        norm=codes.norm(dim=1),
        beliefs=views.T,
        cam=None if moved is None else moved.to(codes.dtype),
    )


def shaken(images: Tensor, noise: float, shift: int, generator: torch.Generator) -> Tensor:
    """All images `(N, C, H, W)` moved by the same few pixels (what leaves on one side enters on the other) and
    under the same Gaussian noise: a proxy that must answer for such copies isn't fooled by single pixels.

    Args:
        noise: standard deviation.
        shift: largest move along each axis, in pixels.
        generator: on the CPU; the draws don't depend on how many images there are.
    """
    down, right = torch.randint(-shift, shift + 1, (2,), generator=generator).tolist()
    grain = torch.randn(images.shape[1:], generator=generator).to(images)
    return torch.roll(images, (down, right), dims=(2, 3)) + noise * grain


def _log_prob(logits: Tensor, label: Tensor) -> Tensor:
    return -functional.cross_entropy(logits, label, reduction="none")
