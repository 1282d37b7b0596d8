"""Explanations whose verdicts are known by construction: they test the study before it tests real ones.

Evaluating an evaluation by cases with a known answer is meta-evaluation (Hedström et al. 2023, arXiv 2302.07265). All
but three are made from the maps that CAM has of the same images. One is the CAM of a network that has learnt nothing,
two are of a network and an attack that are known themselves (`planted_cue`).
"""

from dataclasses import replace

import torch
from torch import Tensor

from cam_adv.studies.explanation_reliability.attack_pairs import ADVERSARIAL
from cam_adv.studies.explanation_reliability.finding import NOTHING_TO_LOSE, Verdict
from cam_adv.studies.explanation_reliability.maps import AttributionMaps

KNOWN = "known: "
"""Prefix of their names, which no name of the config has."""

SCRAMBLED, CONSTANT, COPIED, REVERSED, RANDOM_WEIGHTS, PLANTED, LEFT_BEHIND = (
    KNOWN + name
    for name in (
        "scrambled",
        "constant",
        "copied",
        "reversed",
        "random weights",
        "planted cue",
        "planted cue left behind",
    )
)
EXPECTED: dict[str, dict[str, Verdict]] = {
    SCRAMBLED: {"instability": "yes", "concealment": "no"},
    CONSTANT: {"instability": "no", "unfaithfulness": NOTHING_TO_LOSE, "concealment": "yes"},
    COPIED: {"instability": "no", "concealment": "yes"},
    REVERSED: {"instability": "yes", "concealment": "no"},
    RANDOM_WEIGHTS: {"unfaithfulness": NOTHING_TO_LOSE},
    PLANTED: {"instability": "yes", "unfaithfulness": "no", "concealment": "no"},
    LEFT_BEHIND: {"instability": "no", "unfaithfulness": "yes"},
}
"""What the study must say of each, for the claims that its construction decides."""

LADDER = {f"{KNOWN}noise {percent}%": percent / 100 for percent in (0, 25, 50, 75, 100)}
"""Shares of noise in the map of x that is shown for x': the effects of instability must ascend."""


def scrambled(maps: AttributionMaps, image: Tensor) -> AttributionMaps:
    """The values of the map of x' at positions permuted at random, equally in all rows of a source image `(n,)`."""
    attacked = maps.comparisons[ADVERSARIAL].flatten(1)
    order = torch.stack(
        [torch.randperm(attacked.shape[1], generator=torch.Generator().manual_seed(one)) for one in image.tolist()]
    )
    return _shown_for_x_adv(maps, attacked.gather(1, order).reshape(maps.x.shape))


def reversed_sign(maps: AttributionMaps) -> AttributionMaps:
    """The negative of the map of x'."""
    return _shown_for_x_adv(maps, -maps.comparisons[ADVERSARIAL])


def constant(maps: AttributionMaps) -> AttributionMaps:
    """One Gaussian blob in the middle for every image, a quarter of the map's sides in standard deviation."""
    rows, columns = (
        torch.exp(-0.5 * ((torch.arange(side) - (side - 1) / 2) / (side / 4)).square()) for side in maps.x.shape[1:]
    )
    blob = rows[:, None] * columns

    def like(other: Tensor) -> Tensor:
        return blob.to(other).repeat(len(other), 1, 1)

    comparisons = {name: like(other) for name, other in maps.comparisons.items()}
    parts = (like(part) for part in (maps.clean, maps.other_class, maps.reconstructed))
    return AttributionMaps(like(maps.x), comparisons, *parts)


def noisy(maps: AttributionMaps, share: float, seed: int) -> AttributionMaps:
    """For x' the map of x, mixed with a share of Gaussian noise of the same mean and standard deviation."""
    mean, std = maps.x.mean(dim=(1, 2), keepdim=True), maps.x.std(dim=(1, 2), keepdim=True)
    noise = mean + std * torch.randn(maps.x.shape, generator=torch.Generator().manual_seed(seed))
    return _shown_for_x_adv(maps, (1 - share) * maps.x + share * noise)


def _shown_for_x_adv(maps: AttributionMaps, shown: Tensor) -> AttributionMaps:
    return replace(maps, comparisons=maps.comparisons | {ADVERSARIAL: shown})
