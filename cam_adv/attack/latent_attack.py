"""The latent attack on images, of Type I or II: from where each walk starts to which end is kept."""

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from cam_adv.attack.attacking import attacking, frozen
from cam_adv.attack.held_map import HeldMap
from cam_adv.attack.latent_walk import Walk, latent_walk
from cam_adv.attack.lookalikes import Lookalikes
from cam_adv.attack.objective import Terms, evaluate, shaken
from cam_adv.attack.result import AttackResult
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.networks.surrogates import ReadBack
from cam_adv.networks.svae import SVAE, Posterior
from cam_adv.settings import LatentAttackSettings

STEPS_APART = 1_000_003
"""Distance between the first steps' seeds of two attack seeds: a prime beyond any number of steps."""


class LatentAttack(nn.Module):
    """Type I: turns pictures of class y into pictures of class y' that the victim still calls y.
    Type II: turns them into pictures that are still of class y and that the victim calls y'.

    Both are one walk, in which what the victim is to say and what a person is to see change places. Calling it with
    images and labels gives an `AttackResult`. A row's result depends on that row alone, not on the batch it came in.
    The weights of all networks stay as they are, and get no gradient.
    """

    def __init__(
        self,
        victim: nn.Module,
        generator: SVAE,
        settings: LatentAttackSettings,
        surrogates: Sequence[nn.Module] = (),
        real: LabelledImages | None = None,
        seed: int = 0,
    ) -> None:
        """
        Args:
            victim: f1, images `(N, C, H, W)` in [0, 1] to logits `(N, K)`.
            generator: a trained SVAE-GAN.
            settings: the attack; `conf/attack/*.yaml` are the shipped ones.
            surrogates: image classifiers that stand in for a person, beside the generator's own reading f2(mu(G(z)));
                together the proxies.
            real: images that walks may start from; needed by the start "lookalike".
            seed: of the latent noise.

        Raises:
            UserError: real images are missing.
        """
        super().__init__()
        if "lookalike" in settings.starts and real is None:
            raise UserError(
                "attack.starts has lookalike, but there are no real images to start from.",
                "Give real images, or set attack.starts to [mean].",
            )
        self.victim = victim
        self.generator = generator
        self.proxies = nn.ModuleList([*surrogates, ReadBack(generator)] if settings.weights.surrogates > 0 else ())
        self.settings = settings
        self.multiplier = instantiate(settings.multiplier)
        self.seed = seed
        self.lookalikes = None
        if "lookalike" in settings.starts and real is not None:
            with frozen(self):
                self.lookalikes = Lookalikes(real, victim, generator, self.proxies, settings.start_distance)

    def forward(
        self, x: Tensor, y: Tensor, target: Tensor, on_step: Callable[[int, int], None] | None = None
    ) -> AttackResult:
        """Attack images.

        Args:
            x: `(N, C, H, W)` in [0, 1].
            y: their labels, `(N,)`. Type I: the victim is to keep them. Type II: a person is to see them still.
            target: y', `(N,)`. Type I: a person is to see it. Type II: the victim is to say it.
            on_step: told after each step how many steps were done and how many samples still walk.

        Raises:
            UserError: pixels outside [0, 1], or a map is to be held of a victim that has no exact CAM.
        """
        said, seen = (y, target) if self.settings.kind == "type1" else (target, y)
        with attacking(self, x):
            with torch.no_grad():
                encoded = self.generator.encode(x)
                posterior = Posterior(encoded.mean.to(x.dtype), encoded.deviation.to(x.dtype))
            held_map = HeldMap.of(self.victim, x, said) if self.settings.holds_map else None
            walk = self._best_walk(posterior, said, seen, held_map, on_step or (lambda step, active: None))
            with torch.no_grad():
                x_adv = self.generator.generate(walk.codes).to(x.dtype)
        of_walk = (walk.start, walk.steps, walk.diverged, walk.path, walk.terms)
        return AttackResult(x, x_adv, posterior.mean, walk.codes, y, target, *of_walk)

    @property
    def networks(self) -> list[nn.Module]:
        """All that are asked."""
        return [self.victim, self.generator, *self.proxies]

    @property
    def real_digest(self) -> str | None:
        """Of the real images that walks start from, None where there are none."""
        return None if self.lookalikes is None else self.lookalikes.digest

    def at_every_step(self) -> "LatentAttack":
        """The same attack with a path that holds each step of the walk."""
        other = copy(self)
        other.settings = self.settings.model_copy(update={"frames": self.settings.steps + 1})
        return other

    def _best_walk(
        self,
        posterior: Posterior,
        said: Tensor,
        seen: Tensor,
        held_map: HeldMap | None,
        on_step: Callable[[int, int], None],
    ) -> Walk:
        """Walk from each start in turn with the samples that are not believed yet; keep the better end.

        said: what the victim is to say of the end, `(N,)`. seen: what a person is to see in it, `(N,)`.
        """
        settings = self.settings
        rows = torch.arange(len(said), device=said.device)
        best: Walk | None = None
        for number in range(len(settings.starts)):
            walk = self._walk(
                self._start(number, posterior.mean[rows], said[rows], seen[rows]),
                Posterior(posterior.mean[rows], posterior.deviation[rows]),
                said[rows],
                seen[rows],
                None if held_map is None else held_map.rows(rows),
                lambda step, active, number=number: on_step(number * settings.steps + step, active),
            )
            best = walk if best is None else best.where_better(rows, walk.begun_as(number, number * settings.steps))
            rows = (best.score < math.log(settings.retry_below)).nonzero().squeeze(1)
            if not len(rows):
                break
        assert best is not None  # the settings ask for one start at least
        return best

    def _walk(
        self,
        start: Tensor,
        posterior: Posterior,
        said: Tensor,
        seen: Tensor,
        held_map: HeldMap | None,
        on_step: Callable[[int, int], None],
    ) -> Walk:
        settings = self.settings
        shape = (settings.latent_noise.samples, posterior.mean.shape[1])
        beliefs = start.new_empty(len(start), max(1, len(self.proxies)))

        def terms(codes: Tensor, rows: Tensor, step: int) -> Terms:
            # A step's draws follow from the seed and the step alone: no sample depends on who walks beside it.
            noise = torch.Generator().manual_seed(self.seed * STEPS_APART + step)
            asked = self._asked(step)
            found = evaluate(
                self.victim,
                self.generator,
                [self.proxies[number] for number in asked],
                codes,
                settings.latent_noise.spread * posterior.deviation[rows],
                said[rows],
                seen[rows],
                torch.randn(shape, generator=noise).to(codes),
                lambda images: shaken(images, settings.views.noise, settings.views.shift, noise),
                None if held_map is None else held_map.rows(rows),
            )
            known = beliefs[rows]
            known[:, asked or [0]] = found.beliefs.detach()
            beliefs[rows] = known
            return replace(found, beliefs=known)

        return latent_walk(
            terms,
            start,
            posterior.mean,
            self.multiplier,
            settings,
            on_step,
        )

    def _asked(self, step: int) -> list[int]:
        """The proxies whose turn it is: all at both ends of a walk, where nothing older tells what they think."""
        count, some = len(self.proxies), self.settings.proxies_per_step
        if step in (0, self.settings.steps) or some >= count:
            return list(range(count))
        return [(step * some + number) % count for number in range(some)]

    def _start(self, number: int, z0: Tensor, said: Tensor, seen: Tensor) -> Tensor:
        """Where the walks of start `number` begin, `(N, D)`: a kind that comes again takes its next best."""
        kind = self.settings.starts[number]
        if kind == "mean":
            return z0
        assert self.lookalikes is not None  # __init__ has seen to it
        rank = self.settings.starts[:number].count(kind)
        return self.lookalikes.start(rank, z0, said, seen, self.settings.retry_below)
