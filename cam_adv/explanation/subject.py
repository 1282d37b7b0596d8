"""What is explained: a network, seen at one of its layers, without leaving a trace in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.explanation.cam import GapLinear, find_gap_linear

Explanation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images `(N, C, H, W)`, labels `(N,)`, targets `(N,)` to raw maps `(N, h, w)`: `partial(grad_cam, subject, …)`.

The label is the class whose logit is explained. Only `contrast_cam` asks for the target, the class that it is held
against; every explanation takes both, so that one can stand in for another.
"""


@dataclass(frozen=True)
class Subject:
    """A network, the layer that it is looked at, and where it has one the linear layer that reads that layer's mean.

    The layer may be any whose output is `(N, K, h, w)`; of one that is called several times the last call counts.
    """

    network: nn.Module
    layer: nn.Module
    linear: nn.Linear | None = None

    @classmethod
    def with_exact_cam(cls, network: nn.Module, images: Tensor) -> "Subject":
        """Look, with a few `images` `(N, C, H, W)`, for the layer and the linear layer that CAM needs.

        Raises:
            UserError: the network has no exact CAM.
        """
        with as_in_use(network):
            place = find_gap_linear(network, images)
        if place is None:
            raise _no_exact_cam()
        return cls(network, place.feature_map, place.linear)

    def gap_linear(self) -> GapLinear:
        """Where the exact CAM is found.

        Raises:
            UserError: no linear layer reads the layer's mean.
        """
        if self.linear is None:
            raise _no_exact_cam()
        return GapLinear(self.layer, self.linear)

    def logits_and_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """One forward pass that begins its history at the layer.

        Args:
            images: `(N, C, H, W)` in [0, 1].

        Returns:
            Logits `(N, classes)` and the layer's maps A `(N, K, h, w)`. A is a leaf: where gradients are recorded,
            the logits can be differentiated with respect to it, whether or not the weights ask for gradients.

        Raises:
            UserError: the layer took no part, or made no maps.
        """
        seen: list[Tensor] = []

        def begin_here(module: nn.Module, inputs: tuple, output: object) -> Tensor | None:
            if not isinstance(output, Tensor) or output.dim() != 4:
                return None
            seen.append(output.detach().requires_grad_())
            return seen[-1].clone()  # what follows may work in place, which a leaf does not allow

        hook = self.layer.register_forward_hook(begin_here)
        try:
            with as_in_use(self.network):
                logits = self.network(images)
        finally:
            hook.remove()
        if not seen:
            raise UserError(
                "The layer that was to be explained made no maps (N, K, h, w).",
                "Choose a convolution, or anything that works on its maps, that the network's answer goes through.",
            )
        return logits, seen[-1]


@contextmanager
def as_in_use(network: nn.Module) -> Iterator[None]:
    """Eval mode for a while: every module is given back in the mode that it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def logit_of(logits: Tensor, label: Tensor) -> Tensor:
    """Of logits `(N, K)` the one of each image's label: `(N,)`."""
    return torch.gather(logits, 1, label.unsqueeze(1)).squeeze(1)


def _no_exact_cam() -> UserError:
    return UserError(
        "CAM is not defined for this network: it does not end in global average pooling and one linear layer.",
        "Use a victim that does, such as model/victim=gap_cnn, or an explanation by gradients, such as hires_cam.",
    )
