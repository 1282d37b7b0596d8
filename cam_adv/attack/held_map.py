"""An attack on the explanation too: the victim's map of y is to stay where it was on x.

The same end as Dombrowski et al. 2019 (arXiv 1906.07983) and Heo et al. 2019 (arXiv 1902.02041) seek, for a picture
that becomes another class: the worst case for a reader who trusts the map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from cam_adv.explanation.cam import GapLinear, logits_and_feature_map
from cam_adv.explanation.subject import Subject


@dataclass(frozen=True)
class HeldMap:
    """CAM_y of each x, `(N, h, w)`, and where the victim makes it."""

    place: GapLinear
    maps: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, victim: nn.Module, x: Tensor, y: Tensor) -> "HeldMap":
        """The maps that images `(N, C, H, W)` in [0, 1] have for their labels `(N,)`.

        Raises:
            UserError: the victim has no exact CAM.
        """
        place = Subject.with_exact_cam(victim, x).gap_linear()
        return cls(place, _logits_and_maps(place, victim, x, y)[1])

    def rows(self, chosen: Tensor) -> "HeldMap":
        """The maps of some of the samples, by their positions `(n,)`."""
        return HeldMap(self.place, self.maps[chosen])

    def logits_and_move(self, victim: nn.Module, images: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The victim's logits `(N, K)`, and 1 − the centred cosine of its maps with the held ones, in [0, 2], `(N,)`.

        One forward pass gives both, and both have gradients with respect to the images. A map without a pattern is
        at 1 from every other.
        """
        logits, maps = _logits_and_maps(self.place, victim, images, y)
        now, before = (part.flatten(1) - part.mean(dim=(1, 2)).unsqueeze(1) for part in (maps, self.maps))
        return logits, 1 - cosine_similarity(now, before, dim=1)


def _logits_and_maps(place: GapLinear, victim: nn.Module, images: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    logits, feature_map = logits_and_feature_map(victim, place, images)
    return logits, torch.einsum("nkhw,nk->nhw", feature_map, place.linear.weight[y])
