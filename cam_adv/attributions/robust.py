"""A robust interpretation: contrast maps of independent victims on what the generator redraws, with abstention.

A Type I example is made for one network. Other networks, and what a generator redraws of the example, do not confirm
that network's class unless the attack is made for them, too. So the map is averaged over redrawn images and over
independent victims, and where these do not confirm the class there is no map: the image is shown as it would have to
be for either class instead.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cam_adv.attributions.cam import logits_and_feature_map
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator
from cam_adv.models.input_checks import check_images, check_labels
from cam_adv.models.modes import eval_mode
from cam_adv.models.predictions import batch_size

OWN_STYLE = 0.5
"""Share of an image's own offset that it keeps when it is redrawn as another class. Of 40 digits the judge reads 40
as that class with 0.5, 33 with 0.7, and 21 with 1."""


@dataclass(frozen=True)
class RobustExplanation:
    """Of N images, on the CPU.

    answer: the victims' mean probability of the label on the redrawn images, `(N,)`.
    abstained: whether it is lower than on honest images, `(N,)` bool.
    maps: raw averaged contrast maps of the label against the target, `(N, h, w)`; NaN where it abstains.
    as_label, as_target: the image as it would have to be for the label and for the target, `(N, C, H, W)`.
    """

    answer: Tensor
    abstained: Tensor
    maps: Tensor
    as_label: Tensor
    as_target: Tensor


class RobustInterpretation(nn.Module):
    """The contrast map CAM_y − CAM_y', averaged over redrawn images and over independent victims.

    An image x is redrawn as G(mu(x) + spread·sigma(x)·eps), with the same few draws eps for every image. Its answer
    is the victims' mean probability of y on these. It abstains where the answer is below the conformal quantile of
    honest images, so that of honest images it abstains on a share of `level` or less (Vovk et al. 2005).

    victims: the independent networks, each with an exact CAM.
    """

    eps: Tensor
    threshold: Tensor
    class_codes: Tensor

    def __init__(
        self,
        victims: Sequence[nn.Module],
        generator: Generator,
        images: Tensor,
        *,
        samples: int,
        spread: float,
        level: float,
        seed: int,
    ) -> None:
        """
        Args:
            images: `(n, C, H, W)` in [0, 1], best of all classes, to find the victims' CAMs with.
            samples: redrawn images of each image.
            spread: standard deviation of their codes, in those of the posterior of x.
            level: share of honest images on which it abstains.
            seed: of the draws eps.

        Raises:
            UserError: a victim has no exact CAM.
        """
        super().__init__()
        self.victims, self.generator = nn.ModuleList(victims), generator
        self.heads = [LayerTarget.with_exact_cam(victim, images).cam_head() for victim in victims]
        self.spread, self.level = spread, level
        eps = torch.randn(samples, generator.latent_size, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("eps", eps.to(images))
        self.register_buffer("threshold", torch.full((), torch.nan, device=images.device))
        self.register_buffer("class_codes", torch.empty(0, device=images.device))

    def extra_repr(self) -> str:
        """What it depends on beside its tensors."""
        return f"spread={self.spread}, level={self.level}"

    @torch.no_grad()
    def fit(self, honest: LabelledImages) -> Self:
        """Determine the threshold, and the mean code of each class, from images that trained no network.

        Args:
            honest: images that the explained network classifies correctly, on any device.

        Raises:
            UserError: there are too few for the level, or none of a class.
        """
        rank = math.floor(self.level * (len(honest) + 1))
        if rank == 0:
            raise UserError(
                f"{len(honest)} honest images are too few for a robust interpretation that abstains on "
                f"{self.level:.1%} of them.",
                f"Give {math.ceil(1 / self.level) - 1} or more (dataset.split.validation), or raise its level.",
            )
        images, labels = to_unit_range(honest.images).to(self.eps), honest.labels.to(self.eps.device)
        with eval_mode(self):
            parts = [self._answer_and_code(*part) for part in _batches(images, labels)]
        answer, codes = (torch.cat(column) for column in zip(*parts, strict=True))
        self.threshold.copy_(answer.sort().values[rank - 1])
        counts = labels.bincount()
        if not counts.all():
            raise UserError(
                f"No honest image is of class {int((counts == 0).nonzero()[0])}.",
                "Give images of every class that the victim classifies correctly.",
            )
        sums = codes.new_zeros(len(counts), codes.shape[1]).index_add_(0, labels, codes)
        self.class_codes = sums / counts.unsqueeze(1)
        return self

    @torch.no_grad()
    def explain(self, images: Tensor, label: Tensor, target: Tensor) -> RobustExplanation:
        """Explain why images are of one class rather than of another, or abstain.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            label: y, the class whose prediction is explained, `(N,)`.
            target: y', the class that it is held against, `(N,)`.

        Raises:
            ValueError: `fit` was not called.
            UserError: images or labels are not what they should be.
        """
        if self.threshold.isnan():
            raise ValueError("the robust interpretation has no threshold: call fit")
        check_images(images)
        check_labels(label, len(images), len(self.class_codes), "The label")
        check_labels(target, len(images), len(self.class_codes), "The target")
        self.to(images.device)  # a Trainer that has finished leaves networks on the CPU
        with eval_mode(self):
            parts = [self._explain(*part) for part in _batches(images, label, target)]
        return RobustExplanation(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))

    def log_probs_and_maps(self, images: Tensor, label: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The label's log-probability of each victim on each redrawn image, `(M, N)`, and the mean maps `(N, h, w)`.

        Both have gradients with respect to the images. Args as `explain`.
        """
        count = len(self.eps)
        views = self.redraw(images)
        labels, targets = label.repeat(count), target.repeat(count)
        log_probs, maps = [], []
        for victim, head in zip(self.victims, self.heads, strict=True):
            logits, feature_map = logits_and_feature_map(victim, head, views)
            contrast = head.linear.weight[labels] - head.linear.weight[targets]
            log_probs.append(-cross_entropy(logits.to(self.eps.dtype), labels, reduction="none"))
            maps.append(torch.einsum("nkhw,nk->nhw", feature_map, contrast))
        mean_maps = torch.stack(maps).unflatten(1, (count, len(images))).mean(dim=(0, 1))
        return torch.stack(log_probs).reshape(-1, len(images)), mean_maps

    def redraw(self, images: Tensor) -> Tensor:
        """G(mu(x) + spread·sigma(x)·eps), `(S·N, C, H, W)`: all images with the first eps, then with the second, …"""
        posterior = self.generator.encode(images)
        codes = posterior.mean + self.spread * posterior.std * self.eps.unsqueeze(1)
        return self.generator.decode(codes.flatten(0, 1)).contiguous()

    def _answer_and_code(self, images: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The answer `(N,)`, and mu(x) `(N, D)`."""
        log_probs, _ = self.log_probs_and_maps(images, label, label)
        return log_probs.exp().mean(dim=0), self.generator.encode(images).mean

    def _explain(self, images: Tensor, label: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """The fields of a `RobustExplanation`, in their order."""
        log_probs, maps = self.log_probs_and_maps(images, label, target)
        answer = log_probs.exp().mean(dim=0)
        abstained = answer < self.threshold
        maps = torch.where(abstained[:, None, None], torch.nan, maps)
        return answer, abstained, maps, self._redrawn_as(images, label), self._redrawn_as(images, target)

    def _redrawn_as(self, images: Tensor, label: Tensor) -> Tensor:
        """The image as it would have to be for a class: the class's mean code, plus a part of the offset of the
        image's code from the mean of the class that f2 reads in it.

        This is latent arithmetic (Radford et al. 2016, arXiv 1511.06434, section 6.3.2) with `OWN_STYLE`.
        """
        codes = self.generator.encode(images).mean
        drawn = self.generator.classifier(codes).argmax(dim=1)
        moved = self.class_codes[label] + OWN_STYLE * (codes - self.class_codes[drawn])
        return self.generator.decode(self.generator.with_class(moved, label))


def _batches(images: Tensor, *columns: Tensor) -> "zip[tuple[Tensor, ...]]":
    size = batch_size(images[:1].numel(), largest=100)
    return zip(*(column.split(size) for column in (images.contiguous(), *columns)), strict=True)
