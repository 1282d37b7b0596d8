"""The target of an attribution: a network and one of its layers, both left unchanged by every method."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cam_adv.attributions.cam import CAMHead, find_cam_head
from cam_adv.errors import UserError
from cam_adv.models.capture import forward_hook

AttributionMethod = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images `(N, C, H, W)`, labels `(N,)`, targets `(N,)` to raw maps `(N, h, w)`: `partial(grad_cam, layer_target, …)`.

The label is the class whose logit is explained. Only `contrast_cam` uses the target, the class whose map is
subtracted; all methods take both arguments so that they are interchangeable.
"""


@dataclass(frozen=True)
class LayerTarget:
    """A network, one of its layers, and the linear layer on the mean of that layer's maps if there is one.

    The layer may be any whose output is `(N, K, h, w)`; if it is called several times, the last call counts.
    """

    network: nn.Module
    layer: nn.Module
    linear: nn.Linear | None = None

    @classmethod
    def with_exact_cam(cls, network: nn.Module, images: Tensor) -> "LayerTarget":
        """Find the layer and the linear layer of the exact CAM, with a few `images` `(N, C, H, W)`.

        Raises:
            UserError: the network has no exact CAM.
        """
        with eval_mode(network):
            cam_head = find_cam_head(network, images)
        if cam_head is None:
            raise _no_exact_cam()
        return cls(network, cam_head.layer, cam_head.linear)

    def cam_head(self) -> CAMHead:
        """The layers of the exact CAM.

        Raises:
            UserError: no linear layer takes the mean of the layer's maps.
        """
        if self.linear is None:
            raise _no_exact_cam()
        return CAMHead(self.layer, self.linear)

    def logits_and_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """One forward pass in eval mode whose autograd graph starts at the layer.

        Args:
            images: `(N, C, H, W)` in [0, 1].

        Returns:
            Logits `(N, classes)` and the layer's maps A `(N, K, h, w)`. A is a leaf: where gradients are recorded,
            the logits can be differentiated with respect to it, whether or not the weights require gradients.

        Raises:
            UserError: the layer was not called, or its output is not `(N, K, h, w)`.
        """
        leaves: list[Tensor] = []

        def start_graph(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
            if not isinstance(output, Tensor) or output.dim() != 4:
                return None
            leaves.append(output.detach().requires_grad_())
            return leaves[-1].clone()  # later layers may work in place, which a leaf does not allow

        with forward_hook([self.layer], start_graph), eval_mode(self.network):
            logits = self.network(images)
        if not leaves:
            raise UserError(
                "The layer to be explained made no maps (N, K, h, w).",
                "Choose a convolution, or another layer with such an output, on the path to the network's logits.",
            )
        return logits, leaves[-1]


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Eval mode inside the context; on exit every module gets back the mode that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def logit_of(logits: Tensor, label: Tensor) -> Tensor:
    """The logit of each image's label, `(N,)`, from logits `(N, K)`."""
    return torch.gather(logits, 1, label.unsqueeze(1)).squeeze(1)


def _no_exact_cam() -> UserError:
    return UserError(
        "CAM is not defined for this network: it does not end in global average pooling and one linear layer.",
        "Use a victim that does, such as model/victim=gap_cnn, or an explanation by gradients, such as hires_cam.",
    )
