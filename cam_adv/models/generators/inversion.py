"""Inversion of a decoder: the code that draws an image, searched for by gradients."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from cam_adv.models.predictions import batch_size
from cam_adv.schema.component import Component
from cam_adv.schema.fields import Index, Positive

TOGETHER = 64
"""Largest number of images that are inverted at a time: gradients need more memory than predictions."""


class Inversion(Component):
    """Adam on the squared pixel error of each image (Zhu et al. 2016, arXiv 1609.03552, section 3.1).

    steps, learning_rate: of Adam.
    """

    section: ClassVar[str] = "model.generator.network.inversion"

    steps: Index
    learning_rate: Positive

    def refine(self, decode: Callable[[Tensor], Tensor], codes: Tensor, images: Tensor) -> Tensor:
        """The best codes on the way from a first guess, each found independently of the others: `(N, D)`.

        Args:
            decode: codes `(n, D)` to images `(n, C, H, W)`.
            codes: the first guess, `(N, D)`.
            images: what they are to draw, `(N, C, H, W)`.
        """
        together = batch_size(images[:1].numel(), TOGETHER)
        parts = zip(codes.split(together), images.split(together), strict=True)
        with torch.enable_grad():
            return torch.cat([self._refine(decode, *part) for part in parts])

    def _refine(self, decode: Callable[[Tensor], Tensor], codes: Tensor, images: Tensor) -> Tensor:
        variables = codes.detach().clone().requires_grad_()
        adam = torch.optim.Adam([variables], lr=self.learning_rate)
        best, least = variables.detach().clone(), images.new_full((len(images),), torch.inf)
        for step in range(self.steps + 1):
            error = (decode(variables) - images).square().sum(dim=(1, 2, 3))
            better = error.detach() < least
            best = torch.where(better.unsqueeze(1), variables.detach(), best)
            least = torch.where(better, error.detach(), least)
            if step < self.steps:
                # Of the sum, not the mean: no image depends on the size of its batch.
                (variables.grad,) = torch.autograd.grad(error.sum(), variables)
                adam.step()
        return best
