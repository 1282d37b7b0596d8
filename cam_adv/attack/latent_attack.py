"""The Type I attack on images: from where each walk starts to which end is kept."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy

import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from cam_adv.attack.held_map import HeldMap
from cam_adv.attack.latent_walk import Walk, latent_walk
from cam_adv.attack.lookalikes import Lookalikes
from cam_adv.attack.objective import Terms, evaluate, shaken
from cam_adv.attack.result import AttackResult
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.explanation.subject import as_in_use
from cam_adv.networks.surrogates import ReadBack
from cam_adv.networks.svae import SVAE, Posterior
from cam_adv.settings import AttackSettings

STEPS_APART = 1_000_003
"""Distance between the first steps' seeds of two attack seeds: a prime beyond any number of steps."""


class LatentAttack(nn.Module):
    """Turns pictures of class y into pictures of class y' that the victim still calls y.

    Calling it with images and labels gives an `AttackResult`. A row's result depends on that row alone, not
    on the batch it came in. The weights of all networks stay as they are, and get no gradient.
    """

    def __init__(
        self,
        victim: nn.Module,
        generator: SVAE,
        settings: AttackSettings,
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
            with _frozen(self):
                self.lookalikes = Lookalikes(real, victim, generator, self.proxies, settings.start_distance)

    def forward(
        self, x: Tensor, y: Tensor, target: Tensor, on_step: Callable[[int, int], None] | None = None
    ) -> AttackResult:
        """Attack images.

        Args:
            x: `(N, C, H, W)` in [0, 1].
            y: their labels, `(N,)`, which the victim is to keep.
            target: y', `(N,)`, which a person is to see.
            on_step: told after each step how many steps were done and how many samples still walk.

        Raises:
            UserError: pixels outside [0, 1], or a map is to be held of a victim that has no exact CAM.
        """
        if not ((x >= 0) & (x <= 1)).all():
            raise UserError("The images have pixels outside [0, 1].", "Divide 8-bit pixels by 255.")
        with _frozen(self), torch.enable_grad():
            with torch.no_grad():
                encoded = self.generator.encode(x)
                posterior = Posterior(encoded.mean.to(x.dtype), encoded.deviation.to(x.dtype))
            held_map = HeldMap.of(self.victim, x, y) if self.settings.weights.cam > 0 else None
            walk = self._best_walk(posterior, y, target, held_map, on_step or (lambda step, active: None))
            with torch.no_grad():
                x_adv = self.generator.generate(walk.codes).to(x.dtype)
        return AttackResult(
            x, x_adv, posterior.mean, walk.codes, y, target, walk.start, walk.steps, walk.path, walk.terms
        )

    def at_every_step(self) -> "LatentAttack":
        """The same attack with a path that holds each step of the walk."""
        other = copy(self)
        other.settings = self.settings.model_copy(update={"frames": self.settings.steps + 1})
        return other

    def _best_walk(
        self,
        posterior: Posterior,
        y: Tensor,
        target: Tensor,
        held_map: HeldMap | None,
        on_step: Callable[[int, int], None],
    ) -> Walk:
        """Walk from each start in turn with the samples that are not believed yet; keep the better end."""
        settings = self.settings
        rows = torch.arange(len(y), device=y.device)
        best: Walk | None = None
        for number in range(len(settings.starts)):
            walk = self._walk(
                self._start(number, posterior.mean[rows], y[rows], target[rows]),
                Posterior(posterior.mean[rows], posterior.deviation[rows]),
                y[rows],
                target[rows],
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
        y: Tensor,
        target: Tensor,
        held_map: HeldMap | None,
        on_step: Callable[[int, int], None],
    ) -> Walk:
        settings = self.settings
        shape = (settings.latent_noise.samples, posterior.mean.shape[1])

        def terms(codes: Tensor, rows: Tensor, step: int) -> Terms:
            # A step's draws follow from the seed and the step alone: no sample depends on who walks beside it.
            noise = torch.Generator().manual_seed(self.seed * STEPS_APART + step)
            return evaluate(
                self.victim,
                self.generator,
                self.proxies,
                codes,
                settings.latent_noise.spread * posterior.deviation[rows],
                y[rows],
                target[rows],
                torch.randn(shape, generator=noise).to(codes),
                lambda images: shaken(images, settings.views.noise, settings.views.shift, noise),
                None if held_map is None else held_map.rows(rows),
            )

        return latent_walk(
            terms,
            start,
            posterior.mean,
            self.multiplier,
            settings,
            on_step,
        )

    def _start(self, number: int, z0: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """Where the walks of start `number` begin, `(N, D)`: a kind that comes again takes its next best."""
        kind = self.settings.starts[number]
        if kind == "mean":
            return z0
        assert self.lookalikes is not None  # __init__ has seen to it
        rank = self.settings.starts[:number].count(kind)
        return self.lookalikes.start(rank, z0, y, target, self.settings.retry_below)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients for weights, both put back afterwards: the networks are the caller's."""
    tracked = [weight for weight in module.parameters() if weight.requires_grad]
    module.requires_grad_(False)
    try:
        with as_in_use(module):
            yield
    finally:
        for weight in tracked:
            weight.requires_grad_(True)
