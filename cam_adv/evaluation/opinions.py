"""What the victim, the judge and f2 say of pictures, and which regions the victim's answer rests on."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.explanation.cam import GapLinear, explain, find_gap_linear
from cam_adv.networks.ensemble import Ensemble, joint
from cam_adv.networks.predictions import BATCH, in_batches, unit
from cam_adv.networks.svae import SVAE


@dataclass(frozen=True)
class Opinions:
    """Of N pictures, all on the CPU.

    victim, judge, f2: probabilities `(N, K)`.
    members: of each member of the judge, `(N, M, K)`, in the order of `member_names`.
    cam: the victim's raw signed maps of all classes `(N, K, h, w)`, None where it has no exact CAM.
    """

    victim: Tensor
    judge: Tensor
    members: Tensor
    f2: Tensor
    cam: Tensor | None
    member_names: tuple[str, ...]


@dataclass(frozen=True)
class Witnesses:
    """Everybody who is asked, on the device where they answer."""

    victim: nn.Module
    place: GapLinear | None
    judge: Ensemble
    generator: SVAE
    device: torch.device

    @classmethod
    def call(
        cls, victim: nn.Module, judge: Ensemble, generator: SVAE, images: Tensor, device: torch.device
    ) -> "Witnesses":
        """Look, with a few `images` `(N, C, H, W)`, for the victim's exact CAM."""
        place = find_gap_linear(victim.to(device), unit(images.to(device)))
        return cls(victim, place, judge, generator, device)

    def ask(self, images: Tensor, codes: Tensor | None = None) -> Opinions:
        """What they say of images `(N, C, H, W)` in [0, 1].

        Args:
            codes: `(N, D)` that f2 reads; the posterior means of the images where None.
        """
        for network in (self.victim, self.judge, self.generator):
            network.to(self.device)  # a Trainer that has finished leaves its networks on the CPU
        logits, maps = self._victim(images)
        members = in_batches(lambda part: self.judge.member_probs(part).transpose(0, 1), images, self.device)
        if codes is None:
            codes = in_batches(lambda part: self.generator.encode(part).mean, images, self.device)
        f2 = in_batches(lambda part: self.generator.classifier(part).softmax(dim=1), codes, self.device)
        names = tuple(self.judge.members)
        return Opinions(logits.softmax(dim=1), joint(members, dim=1), members, f2, maps, names)

    def draw(self, codes: Tensor) -> Tensor:
        """G(z) of codes `(N, D)`: images `(N, C, H, W)` in [0, 1]."""
        self.generator.to(self.device)  # see ask
        return in_batches(self.generator.generate, codes, self.device)

    def _victim(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.place is None:
            return in_batches(self.victim, images, self.device), None
        place = self.place
        answers = [explain(self.victim, place, unit(part.to(self.device))) for part in images.split(BATCH)]
        logits, maps = zip(*answers, strict=True)
        return torch.cat(logits).cpu(), torch.cat(maps).cpu()
