"""torchvision's classifiers, by name."""

import difflib
from typing import Any

from torch import nn

from cam_adv.errors import UserError


def torchvision_classifier(name: str, num_classes: int, **arguments: Any) -> nn.Module:
    """A classifier of torchvision by name, such as "resnet18", untrained; it reads images of three channels.

    Args:
        name: see `torchvision.models.list_models`.
        arguments: further ones of the model.

    Raises:
        UserError: torchvision has no classifier of this name.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        close = difflib.get_close_matches(name.lower().replace("-", ""), names, n=3)
        raise UserError(
            f"model.victim.network.name={name} is no classifier of torchvision.",
            f"Choose from {', '.join(close or names)}.",
        )
    if name in ("googlenet", "inception_v3"):  # with auxiliary logits, they return a tuple in training
        arguments = {"aux_logits": False, "init_weights": True, **arguments}
    return models.get_model(name, weights=None, num_classes=num_classes, **arguments)
