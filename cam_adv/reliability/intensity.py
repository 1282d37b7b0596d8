"""What every explanation is read beside: the picture itself, handed over as if it were one."""

from torch import Tensor

from cam_adv.explanation.subject import Subject


def intensity(subject: Subject, images: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """The mean over channels of images `(N, C, H, W)`, as maps `(N, H, W)`; nothing else is asked."""
    return images.mean(dim=1)
