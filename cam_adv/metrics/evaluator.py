"""What the victim, the judge and f2 predict for images, and the victim's class activation maps."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attributions.cam import CAMHead, checked_cams, find_cam_head
from cam_adv.data.pixels import to_unit_range
from cam_adv.models.generators.base import Generator
from cam_adv.models.judge import Judge
from cam_adv.models.modes import eval_mode
from cam_adv.models.predictions import batch_size, batched_apply
from cam_adv.runtime.progress import DELAY, Progress


@dataclass(frozen=True)
class Predictions:
    """For N images, all on the CPU.

    victim, judge, f2: probabilities `(N, K)`.
    members: of each member of the judge, `(N, M, K)`, in the order of `member_names`.
    plausibility, judge_reads: `(N,)`; see `cam_adv.models.judge.Reading`.
    codes: `(N, D)`, what f2 classified.
    cam: the victim's raw signed maps of all classes `(N, K, h, w)`, None where it has no exact CAM.
    """

    victim: Tensor
    judge: Tensor
    members: Tensor
    plausibility: Tensor
    judge_reads: Tensor
    f2: Tensor
    codes: Tensor
    cam: Tensor | None
    member_names: tuple[str, ...]


@dataclass(frozen=True)
class Evaluator:
    """The networks that evaluate an attack, on the device where they predict."""

    victim: nn.Module
    cam_head: CAMHead | None
    judge: Judge
    generator: Generator
    device: torch.device

    @classmethod
    def build(
        cls, victim: nn.Module, judge: Judge, generator: Generator, images: Tensor, device: torch.device
    ) -> "Evaluator":
        """Find the victim's exact CAM with some `images` `(N, C, H, W)`, best of all classes."""
        with eval_mode(victim):
            cam_head = find_cam_head(victim.to(device), to_unit_range(images.to(device)))
        return cls(victim, cam_head, judge, generator, device)

    def predict(self, images: Tensor, codes: Tensor | None = None) -> Predictions:
        """Everything about images `(N, C, H, W)` in [0, 1].

        Args:
            codes: `(N, D)` that f2 classifies; those found for the images by `Generator.invert` where None.
        """
        for network in (self.victim, self.judge, self.generator):
            network.to(self.device)  # a Trainer that has finished leaves its networks on the CPU
        logits, maps = self.logits_and_cams(images)
        reading = self.judge.read(images, self.device)
        if codes is None:
            codes = self._invert(images)
        f2 = batched_apply(lambda part: self.generator.classifier(part).softmax(dim=1), codes, self.device)
        return Predictions(
            victim=logits.softmax(dim=1),
            judge=reading.probs,
            members=reading.members,
            plausibility=reading.plausibility,
            judge_reads=reading.reads,
            f2=f2,
            codes=codes,
            cam=maps,
            member_names=tuple(self.judge.members),
        )

    def decode(self, codes: Tensor) -> Tensor:
        """G(z) of codes `(N, D)`: images `(N, C, H, W)` in [0, 1]."""
        self.generator.to(self.device)  # see predict
        return batched_apply(self.generator.decode, codes, self.device)

    def _invert(self, images: Tensor) -> Tensor:
        with Progress("codes of images", len(images), "images", delay=DELAY) as progress:

            def invert(part: Tensor) -> Tensor:
                mean = self.generator.invert(part).mean
                progress.advance(len(part))
                return mean

            return batched_apply(invert, images, self.device)

    def logits_and_cams(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The victim's logits `(N, K)`, and its CAMs of all classes; see `Predictions`."""
        head = self.cam_head
        with eval_mode(self.victim):
            if head is None:
                return batched_apply(self.victim, images, self.device), None
            parts = [
                checked_cams(self.victim, head, to_unit_range(part.to(self.device)).contiguous())
                for part in images.split(batch_size(images[:1].numel()))
            ]
        logits, maps = zip(*parts, strict=True)
        return torch.cat(logits).cpu(), torch.cat(maps).cpu()
