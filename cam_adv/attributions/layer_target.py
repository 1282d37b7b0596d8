"""The target of an attribution: a network and one of its layers, both left unchanged by every method."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cam_adv.attributions.cam import CAMHead, find_cam_head
from cam_adv.errors import UserError
from cam_adv.models.capture import edit_maps
from cam_adv.models.input_checks import check_labels
from cam_adv.models.modes import eval_mode
from cam_adv.models.output_checks import check_logits

AttributionMethod = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images `(N, C, H, W)`, labels `(N,)`, targets `(N,)` to raw maps `(N, h, w)`: `partial(grad_cam, layer_target, …)`.

The label is the class whose logit is explained. Only `contrast_cam` uses the target, the class whose map is
subtracted; all methods take both arguments so that they are interchangeable.
"""


@dataclass(frozen=True)
class LayerTarget:
    """A network, one of its layers, and the linear layer on the mean of that layer's maps if there is one.

    The layer may be any whose output is `(N, K, h, w)`; if it is called several times, the last call counts.

    at_input: the maps are what the layer takes in instead; see `CAMHead`.
    """

    network: nn.Module
    layer: nn.Module
    linear: nn.Linear | None = None
    at_input: bool = False

    @classmethod
    def with_exact_cam(cls, network: nn.Module, images: Tensor) -> "LayerTarget":
        """Find the layer and the linear layer of the exact CAM, with some `images` `(N, C, H, W)`.

        Raises:
            UserError: the network has no exact CAM.
        """
        with eval_mode(network):
            cam_head = find_cam_head(network, images)
        if cam_head is None and any(isinstance(part, torch.jit.ScriptModule) for part in network.modules()):
            raise UserError(
                "The layers of a TorchScript module can't be read, so that it has no CAM.",
                "Give the torch.nn.Module that it was made from.",
            )
        if cam_head is None:
            raise UserError(
                "CAM is not defined for this network: no module puts out maps on which its logits depend through "
                "global average pooling and one linear layer alone.",
                "Use a victim that ends so, such as model/victim=gap_cnn; of your own, make a function before the "
                "pooling a module, such as torch.nn.ReLU.",
            )
        return cls(network, cam_head.layer, cam_head.linear, cam_head.at_input)

    def cam_head(self) -> CAMHead:
        """The layers of the exact CAM.

        Raises:
            UserError: no linear layer takes the mean of the layer's maps.
        """
        if self.linear is None:
            raise UserError(
                "CAM is not defined at this layer: no linear layer takes the mean of its maps.",
                "Use LayerTarget.with_exact_cam, or an explanation by gradients, such as hires_cam.",
            )
        return CAMHead(self.layer, self.linear, self.at_input)

    def logits_and_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """One forward pass in eval mode whose autograd graph starts at the layer.

        Args:
            images: `(N, C, H, W)` in [0, 1].

        Returns:
            Logits `(N, classes)` and the layer's maps A `(N, K, h, w)`. A is a leaf: where gradients are recorded,
            the logits can be differentiated with respect to it, whether or not the weights require gradients.

        Raises:
            UserError: the layer was not called, or its output is not `(N, K, h, w)`; or the network's are no logits.
        """
        leaves: list[Tensor] = []

        def start_graph(maps: Tensor) -> Tensor:
            leaves.append(maps.detach().requires_grad_())
            return leaves[-1].clone()  # later layers may work in place, which a leaf does not allow

        with edit_maps(self.layer, self.at_input, start_graph), eval_mode(self.network):
            logits = self.network(images.contiguous())
        if not leaves:
            raise UserError(
                "The layer to be explained made no maps (N, K, h, w).",
                "Choose a convolution, or another layer with such an output, on the path to the network's logits.",
            )
        check_logits(logits, len(images), None, "The network")
        return logits, leaves[-1]


def logit_of(logits: Tensor, label: Tensor) -> Tensor:
    """The logit of each image's label, `(N,)`, from logits `(N, K)`.

    Raises:
        UserError: the labels are no numbers of classes `(N,)`.
    """
    check_labels(label, len(logits), logits.shape[1], "The label")
    return torch.gather(logits, 1, label.unsqueeze(1)).squeeze(1)
