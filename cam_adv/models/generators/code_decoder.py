"""What a generator from elsewhere needs in order to be attacked through."""

from typing import Any, Protocol

from torch import Tensor

from cam_adv.errors import UserError

DECODER = "model.generator.network.decoder"
"""Path of the decoder in the config."""


class CodeDecoder(Protocol):
    """A trained `torch.nn.Module` that draws images from codes; `PretrainedGenerator` makes a `Generator` of it.

    It needs nothing of this package: any module with these two members will do. `decode` may have a second parameter
    `y`: it is then class-conditional, and gets int64 labels `(N,)`. Three further members are used where it has them:

    - `pixel_range: tuple[float, float]`, black and white in its images; (0, 1) without;
    - `encode(x)`, images in that range to codes `(N, *code_shape)`, or to an object with `mean` and `std`, each
      `(N, D)`, such as `Posterior`; without, an encoder is trained;
    - `prior(count, generator)`, samples of the codes that it was trained on, `(count, *code_shape)`, drawn with a
      `torch.Generator` on the CPU; N(0, I) without.

    It is used in evaluation mode, in which it must be deterministic and treat every image of a batch alone.
    """

    code_shape: tuple[int, ...] | int
    """Of one code, without the batch."""

    def decode(self, z: Tensor) -> Tensor:
        """Codes `(N, *code_shape)` to images `(N, C, H, W)` in `pixel_range`, with a gradient."""
        ...


def code_shape_of(decoder: Any, name: str) -> tuple[int, ...]:
    """The shape of one code.

    Args:
        name: of the decoder, for the messages.

    Raises:
        UserError: it lacks `decode` or `code_shape`, or this is no shape.
    """
    if not callable(getattr(decoder, "decode", None)):
        raise UserError(
            f"{name} has no decode(z), which draws images from codes.",
            "Give it one; or use model/generator=image_module, if it draws by being called.",
        )
    declared = getattr(decoder, "code_shape", None)
    try:
        shape = (int(declared),) if isinstance(declared, int) else tuple(int(size) for size in declared or ())
    except (TypeError, ValueError):
        shape = ()
    if not shape or min(shape) < 1:
        raise UserError(
            f"{name} has {'no code_shape' if declared is None else f'the code_shape {declared}'}, which must be the "
            "shape of one code.",
            "Set it in its __init__, such as self.code_shape = (128,).",
        )
    return shape


def pixel_range_of(decoder: Any, name: str) -> tuple[float, float]:
    """Black and white in its images.

    Args:
        name: of the decoder, for the message.

    Raises:
        UserError: its `pixel_range` is no such pair.
    """
    declared = getattr(decoder, "pixel_range", (0.0, 1.0))
    try:
        low, high = (float(value) for value in declared)
        ordered = low < high
    except (TypeError, ValueError):
        ordered = False
    if not ordered:
        raise UserError(
            f"{name} has the pixel_range {declared}, which must be its black and its white.",
            "Set it in its __init__, such as self.pixel_range = (-1, 1).",
        )
    return low, high
