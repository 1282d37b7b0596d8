"""timm's classifiers, by name: the extra `cam-adv[timm]`."""

import difflib
from typing import Any

from torch import nn

from cam_adv.errors import UserError


def timm_classifier(
    name: str, in_channels: int, num_classes: int, pretrained: bool = False, **arguments: Any
) -> nn.Module:
    """A classifier of timm by name, such as "resnet18" or "resnet18.a1_in1k", for any number of channels and classes.

    Args:
        name: see `timm.list_models`; what follows a dot names pretrained weights.
        pretrained: begin with timm's weights, which are downloaded from the Hugging Face Hub; the last layer is new.
        arguments: further ones of the model, such as `img_size` of a vision transformer.

    Raises:
        UserError: timm is missing, has no such classifier, can't make it with these arguments, or can't download its
            weights.
    """
    try:
        from timm import create_model, is_model, list_models
    except ImportError as error:
        raise UserError(
            "model/victim=timm needs the package timm.", "Install it with pip install 'cam-adv[timm]'."
        ) from error
    if not is_model(name):
        close = difflib.get_close_matches(name.split(".")[0].lower().replace("-", ""), list_models(), n=3)
        raise UserError(
            f"model.victim.network.name={name} is no classifier of timm.",
            f"Choose one of timm.list_models(){', such as ' if close else ''}{', '.join(close)}.",
        )
    try:
        return create_model(name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels, **arguments)
    except Exception as error:  # of many types: an argument or a tag that it doesn't have, no network
        reason = (str(error) or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
        raise UserError(
            f"timm can't make {name}{' with its pretrained weights' if pretrained else ''}: {reason}.",
            "Set model.victim.network.pretrained=false, or run where the Hugging Face Hub can be reached."
            if pretrained
            else "Correct model.victim.network.name or the further arguments of model.victim.network.",
        ) from error
