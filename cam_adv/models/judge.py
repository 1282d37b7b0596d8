"""The independent judge: which class it reads in a picture, or that it reads nothing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.data.human_labels import NOTHING
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import LabelledImages
from cam_adv.models.input_checks import OVERSHOOT, check_pixels
from cam_adv.models.modes import eval_mode
from cam_adv.models.output_checks import check_outputs
from cam_adv.models.penultimate import penultimate_features
from cam_adv.models.predictions import batched_apply


def reading_text(reading: int, class_names: Sequence[str]) -> str:
    """What the judge reads, in words: the name of a class, or "nothing"."""
    return "nothing" if reading == NOTHING else class_names[reading]


@dataclass(frozen=True)
class Reading:
    """What the judge says of N pictures, on the CPU.

    members: probabilities of each member, `(N, M, K)`. probs: of the judge, `(N, K)`.
    plausibility: conformal p-value of each picture as an image of its likeliest class, `(N,)`.
    reads: the likeliest class, or `NOTHING` where the plausibility is at most the judge's level, `(N,)`.
    """

    members: Tensor
    probs: Tensor
    plausibility: Tensor
    reads: Tensor


FEW = 8
"""Images with which the members are checked."""


class Judge(nn.Module):
    """Named classifiers that read a picture as a class only if it is as plausible as real images of the class are.

    The probability of the judge is the product of its members' (`product_of_experts`). A picture is held against real
    images that no member was trained on, by two measures of its likeliest class from each member:

    - the log-probability: is it this class rather than another?
    - minus the distance to the k-th nearest training image of the class in the normalised penultimate features (Sun
      et al. 2022, arXiv 2204.06507): does it look like the class? Noise and blank pictures may have a high
      probability, but they are far from every real image.

    Each measure is ranked among those of the held-out images. The smallest rank is the picture's score, so that every
    member has a veto, and the plausibility is the conformal p-value of that score (Vovk et al. 2005): the share of
    held-out images with a score no higher. So about a share `level` of real images is taken for nothing, whatever the
    measures are: with M members and n held-out images at most (2M − 1)/(n + 1) more, since a held-out image counts
    itself in its own ranks.
    """

    def __init__(self, members: Mapping[str, nn.Module], level: float, neighbours: int, references: int) -> None:
        """
        Args:
            level: share of real images that it takes for nothing, in (0, 1).
            neighbours: k.
            references: number of training images of each class among which neighbours are searched.
        """
        super().__init__()
        self.members = nn.ModuleDict(members)
        self.level, self.neighbours, self.references = level, neighbours, references
        self._reference_features: list[list[Tensor]] = []
        self._real_measures = torch.empty(0)
        self._real_scores = torch.empty(0)

    def fit(self, train: LabelledImages, held_out: LabelledImages, device: torch.device) -> "Judge":
        """Take the references from the training images, and the ranks from real images that trained no member.

        Returns:
            The judge itself, on `device`.

        Raises:
            UserError: a member does not map each image to one logit for each class.
        """
        self.to(device)
        generator = torch.Generator().manual_seed(0)
        self._reference_features = []
        classes = int(train.labels.max()) + 1
        few = to_unit_range(held_out.images[:FEW].to(device))
        with eval_mode(self):
            for name, member in self.members.items():
                check_outputs(member, few, classes, f"The judge's member {name}", trained=False)
        for label in range(classes):
            rows = (train.labels == label).nonzero().squeeze(1)
            rows = rows[torch.randperm(len(rows), generator=generator)[: self.references]]
            _, features = self._outputs(train.images[rows], device)
            self._reference_features.append(features)
        logits, features = self._outputs(held_out.images, device)
        measures = self._measures(logits, features, device)
        self._real_measures = measures.sort(dim=1).values
        self._real_scores = self._score(measures).sort().values
        return self

    @property
    def least_held_out(self) -> int:
        """The smallest number of held-out images with which a plausibility can be at most `level`."""
        return math.ceil(1 / self.level) - 1

    @property
    def held_out(self) -> int:
        """The number of held-out images that it was fitted on."""
        return len(self._real_scores)

    def read(self, images: Tensor, device: torch.device) -> Reading:
        """Read pictures `(N, C, H, W)`, uint8 in [0, 255] or float in [0, 1]; nothing in one with NaN.

        Raises:
            ValueError: `fit` was not called.
            UserError: float pixels are far outside [0, 1].
        """
        if not len(self._real_scores):
            raise ValueError("the judge must be fitted before it reads")
        if images.is_floating_point() and len(images):
            check_pixels(images, OVERSHOOT)
        self.to(device)
        logits, features = self._outputs(images, device)
        measures = self._measures(logits, features, device)
        score = self._score(measures.masked_fill(measures.isnan(), -math.inf))
        plausibility = (1 + _count_no_higher(self._real_scores, score)) / (1 + len(self._real_scores))
        probs = product_of_experts(logits)
        reads = torch.where(plausibility > self.level, probs.argmax(dim=1), NOTHING)
        return Reading(logits.softmax(dim=2).float(), probs.float(), plausibility, reads)

    def features(self, images: Tensor, device: torch.device) -> Tensor:
        """Penultimate features of all members, joined: `(N, F)`."""
        return torch.cat(self._outputs(images, device)[1], dim=1)

    def _outputs(self, images: Tensor, device: torch.device) -> tuple[Tensor, list[Tensor]]:
        """Logits `(N, M, K)` in double precision, since most real images have a probability that float32 rounds to 1,
        and the penultimate features of each member, `(N, F)`."""
        logits, features = [], []
        for member in self.members.values():
            sizes: list[int] = []

            def joined(part: Tensor, member: nn.Module = member, sizes: list[int] = sizes) -> Tensor:
                own_logits, own_features = penultimate_features(member, part)
                sizes[:] = [own_logits.shape[1], own_features.shape[1]]
                return torch.cat([own_logits, own_features], dim=1)

            with eval_mode(member):
                own_logits, own_features = batched_apply(joined, images, device).split(sizes, dim=1)
            logits.append(own_logits.double())
            features.append(own_features)
        return torch.stack(logits, dim=1), features

    def _measures(self, logits: Tensor, features: list[Tensor], device: torch.device) -> Tensor:
        """The two measures of each member of each picture as its likeliest class, `(2·M, N)`; see the class."""
        label = product_of_experts(logits).argmax(dim=1)
        index = label.reshape(-1, 1, 1).expand(-1, logits.shape[1], 1)
        log_probs = logits.log_softmax(dim=2).gather(2, index).squeeze(2)
        return torch.cat([log_probs.T, -self._distances(features, label, device)])

    def _distances(self, features: list[Tensor], label: Tensor, device: torch.device) -> Tensor:
        """Distance to the k-th nearest reference of the class `label` in the features of each member: `(M, N)`."""
        distances = torch.zeros(len(features), len(label), dtype=torch.float64)
        for one in label.unique().tolist():
            rows = label == one
            for own, references, distance in zip(features, self._reference_features[one], distances, strict=True):
                anchors = functional.normalize(references, dim=1).to(device)
                count = min(self.neighbours, len(anchors))

                def kth(part: Tensor, anchors: Tensor = anchors, count: int = count) -> Tensor:
                    near = torch.cdist(functional.normalize(part, dim=1), anchors).topk(count, largest=False)
                    return near.values[:, -1]

                parts = [kth(part.to(device)).cpu() for part in own[rows].split(QUERIES)]
                distance[rows] = torch.cat(parts).double()
        return distances

    def _score(self, measures: Tensor) -> Tensor:
        """The smallest of the ranks of the measures `(2·M, N)` among real images: `(N,)`."""
        ranks = [_count_no_higher(real, own) for real, own in zip(self._real_measures, measures, strict=True)]
        return torch.stack(ranks).amin(dim=0)


QUERIES = 1000
"""Pictures whose neighbours are searched at once."""


def product_of_experts(logits: Tensor) -> Tensor:
    """The geometric mean of the members' probabilities, normalised to sum to 1 over the classes: `(N, K)`.

    A class to which one member gives probability 0 gets probability 0: unlike in the arithmetic mean, confident
    members do not outvote an uncertain one (product of experts, Hinton 2002).

    Args:
        logits: of each member, `(N, M, K)`.
    """
    return logits.log_softmax(dim=2).mean(dim=1).softmax(dim=1)


def _count_no_higher(sorted_values: Tensor, values: Tensor) -> Tensor:
    """How many of the sorted values `(n,)` are no higher than each of `values` `(N,)`: `(N,)`."""
    return torch.searchsorted(sorted_values.contiguous(), values.contiguous(), right=True)
