"""A constraint that also attacks the explanation: the victim's CAM of y must stay as it was on x.

Dombrowski et al. 2019 (arXiv 1906.07983) and Heo et al. 2019 (arXiv 1902.02041) keep or change explanations of images
whose class stays. Here the image becomes another class, which is the worst case for a user who trusts the map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from cam_adv.attributions.cam import CAMHead, logits_and_feature_map
from cam_adv.attributions.layer_target import LayerTarget


@dataclass(frozen=True)
class CAMConstraint:
    """The CAM of each x that the attack must keep.

    head: the layers of the victim that the CAM is computed from.
    maps: CAM_y of each x, `(N, h, w)`.
    """

    head: CAMHead
    maps: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, victim: nn.Module, x: Tensor, y: Tensor) -> "CAMConstraint":
        """The CAMs of images `(N, C, H, W)` in [0, 1] for the labels `(N,)`.

        Raises:
            UserError: the victim has no exact CAM.
        """
        head = LayerTarget.with_exact_cam(victim, x).cam_head()
        return cls(head, _logits_and_maps(head, victim, x, y)[1])

    def rows(self, chosen: Tensor) -> "CAMConstraint":
        """The constraint of some of the samples, by their indices `(n,)`."""
        return CAMConstraint(self.head, self.maps[chosen])

    def logits_and_change(self, victim: nn.Module, images: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The victim's logits `(N, K)`, and the change of its CAMs since x, `(N,)`.

        See `map_change`. Logits and change come from one forward pass, and both have gradients with respect to the
        images.
        """
        logits, maps = _logits_and_maps(self.head, victim, images, y)
        return logits, map_change(maps, self.maps)


def map_change(maps: Tensor, before: Tensor) -> Tensor:
    """1 − the centred cosine similarity of maps `(N, h, w)` to those before, `(N,)`; 1 where one is constant."""
    now, then = (part.flatten(1) - part.mean(dim=(1, 2)).unsqueeze(1) for part in (maps, before))
    return 1 - cosine_similarity(now, then, dim=1)


def _logits_and_maps(head: CAMHead, victim: nn.Module, images: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    logits, feature_map = logits_and_feature_map(victim, head, images)
    return logits, torch.einsum("nkhw,nk->nhw", feature_map, head.linear.weight[y])
