"""The features that a classifier's last linear layer decides by."""

from torch import Tensor, nn

from cam_adv.models.capture import record_calls


def penultimate_features(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits `(N, K)`, and the input of the last linear layer `(N, F)`; the logits again if there is none.

    Args:
        images: `(N, C, H, W)` in [0, 1].
    """
    linear_layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not linear_layers:
        logits = network(images)
        return logits, logits
    with record_calls([linear_layers[-1]]) as calls:
        logits = network(images)
    return logits, calls[-1].inputs[0].flatten(1)
