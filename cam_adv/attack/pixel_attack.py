"""Type II attacks on the pixels of images, called and answering as latent attacks do."""

from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.attack.attacking import attacking
from cam_adv.attack.latent_walk import evenly_spaced
from cam_adv.attack.norm_bounded import fgsm, pgd, random_start
from cam_adv.attack.result import AttackResult
from cam_adv.networks.svae import SVAE
from cam_adv.settings import FGSMSettings, MinimalNormSettings, PGDSettings, PixelAttackSettings


class PixelAttack(nn.Module):
    """Changes pixels of pictures of class y a little, so that the victim says another class.

    Calling it with images and labels gives an `AttackResult`, whose codes are those of the pictures: z0 = mu(x),
    z = mu(x'), and along the path mu of the pictures there; no code was walked. A row's result depends on that row
    alone. The weights of all networks stay as they are, and get no gradient.
    """

    real_digest: str | None = None
    """Of real images that walks start from; a pixel attack starts from none."""

    def __init__(self, victim: nn.Module, generator: SVAE, settings: PixelAttackSettings, seed: int = 0) -> None:
        """
        Args:
            victim: f1, images `(N, C, H, W)` in [0, 1] to logits `(N, K)`.
            generator: a trained SVAE-GAN, which reads pictures for their codes and takes no part in the attack.
            settings: the attack; `conf/attack/*.yaml` are the shipped ones.
            seed: of the random start.
        """
        super().__init__()
        self.victim = victim
        self.generator = generator
        self.settings = settings
        self.seed = seed

    @property
    def networks(self) -> list[nn.Module]:
        """All that are asked."""
        return [self.victim, self.generator]

    def forward(
        self, x: Tensor, y: Tensor, target: Tensor, on_step: Callable[[int, int], None] | None = None
    ) -> AttackResult:
        """Attack images.

        Args:
            x: `(N, C, H, W)` in [0, 1].
            y: their labels, `(N,)`, which the victim is to leave.
            target: `(N,)`, not asked: any class but y will do. The result's target is what the victim says of x'.
            on_step: told after each step how many steps were done and how many samples there are.

        Raises:
            UserError: pixels outside [0, 1].
        """
        on_step = on_step or (lambda step, active: None)
        with attacking(self, x):
            way = self._way(x, y, on_step)
            with torch.no_grad():
                logits = [self.victim(images).to(x.dtype) for images in way]
                codes = [self.generator.encode(images).mean.to(x.dtype) for images in [x, *way]]
        losses = [functional.cross_entropy(answer, y, reduction="none") for answer in logits]
        return AttackResult(
            x=x,
            x_adv=way[-1],
            z0=codes[0],
            z=codes[-1],
            y=y,
            target=logits[-1].argmax(dim=1),
            start=torch.zeros_like(y),
            steps=torch.full_like(y, self.settings.steps_per_start),
            diverged=~torch.stack([answer.isfinite().all(dim=1) for answer in logits]).all(dim=0),
            path=torch.stack(codes[1:], dim=1),
            terms={"J1 victim": torch.stack(losses, dim=1)},
        )

    def at_every_step(self) -> "PixelAttack":
        """The same attack with a path that holds each step that it tells of."""
        other = copy(self)
        other.settings = self.settings.model_copy(update={"frames": self.settings.steps_per_start + 1})
        return other

    def _way(self, x: Tensor, y: Tensor, on_step: Callable[[int, int], None]) -> list[Tensor]:
        """Pictures at evenly spaced steps, from where the attack began to x'; two where it tells of no more."""
        settings = self.settings
        if isinstance(settings, FGSMSettings):
            way = [x, fgsm(self.victim, x, y, settings.strength, settings.norm)]
        elif isinstance(settings, PGDSettings):
            return self._pgd(settings, x, y, on_step)
        else:
            assert isinstance(settings, MinimalNormSettings)
            # Imported late: the package is an extra, which these attacks alone need.
            from cam_adv.attack.minimal_norm import minimal_norm

            way = [x, minimal_norm(self.victim, x, y, settings, self.seed)]
        on_step(settings.steps_per_start, len(x))
        return way

    def _pgd(self, settings: PGDSettings, x: Tensor, y: Tensor, on_step: Callable[[int, int], None]) -> list[Tensor]:
        start = x
        if settings.random_start:
            draw = torch.Generator().manual_seed(self.seed)
            start = random_start(x, settings.strength, settings.norm, draw)
        way, recorded = [start], evenly_spaced(settings.steps, settings.frames)

        def record(step: int, images: Tensor) -> None:
            if step in recorded:
                way.append(images)
            on_step(step, len(images))

        size = settings.step_size * settings.strength
        pgd(self.victim, x, y, settings.strength, settings.norm, settings.steps, size, start, record)
        return way
