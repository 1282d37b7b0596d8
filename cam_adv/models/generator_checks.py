"""Checks of generators before anything is trained: what they draw and encode, and the gradient between them."""

from collections.abc import Callable

import torch
from torch import Tensor

from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator
from cam_adv.models.generators.code_decoder import DECODER
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.input_checks import OVERSHOOT
from cam_adv.models.output_checks import RELATIVE_TOLERANCE, WHERE_SET, check_channels, failure

RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""Usual pixel ranges, one of which is named where the declared one is wrong."""

Run = Callable[[Tensor], Tensor]


def check_generator(network: Generator, images: Tensor, num_classes: int, name: str) -> None:
    """Check that a network can be used as a generator of these images.

    Args:
        network: in evaluation mode.
        images: a few images of the dataset `(N, C, H, W)` in [0, 1].
        num_classes: K.
        name: for the messages, as the user configured it.

    Raises:
        UserError: a part fails, also on a batch of one or for the last class; it draws images of another size or
            number of channels, or pixels outside of their range; encodes to another shape; returns NaN; is not
            deterministic in eval mode; draws or encodes an image differently alone and in a batch; its images have no
            gradient with respect to their codes; or its prior draws codes of another shape, or other ones from the
            same seed.
    """
    with torch.random.fork_rng(devices=[]):
        if isinstance(network, PretrainedGenerator):
            _check_decoder(network, images, num_classes)
        else:
            codes = _check_encoding(lambda part: network.encode(part).mean, images, network.latent_size, name)
            low, high = _check_drawing(network.decode, codes, images, name)
            _check_range(low, high, (0.0, 1.0), name, "End its decode with a sigmoid, or clamp what it returns.")
        _check_heads(network, images, num_classes, name)


def _check_decoder(generator: PretrainedGenerator, images: Tensor, num_classes: int) -> None:
    """The decoder by its own codes, since principal components are not fitted before the training."""
    name, declared = generator.name, generator.pixel_range
    labels = (num_classes - 1 - torch.arange(len(images))) % num_classes
    codes = _check_prior(generator, len(images))
    if generator.code_encoder is None:
        numbers = torch.Size(generator.code_shape).numel()
        codes = _check_encoding(lambda part: generator.own_codes(part)[0], images, numbers, name)
        std = generator.own_codes(images)[1]
        if std is not None and (std.shape != codes.shape or not (std > 0).all()):
            raise UserError(
                f"{name}.encode returns a std that is not positive, or not of the shape of its mean.",
                "Return standard deviations, not variances' logarithms: (0.5 * log_variance).exp().",
            )

    def draw(part: Tensor) -> Tensor:
        return generator.draw(part, labels[: len(part)] if generator.class_conditional else None)

    if generator.class_conditional:
        _check_last_class(generator, codes, num_classes)
    low, high = _check_drawing(draw, codes, images, name)
    fitting = next((usual for usual in RANGES if not _is_outside(low, high, usual)), None)
    how = f"as an attribute, or as {DECODER}.pixel_range where its _target_ takes it"
    remedy = f"Set its pixel_range to {_interval(fitting or RANGES[0])}, {how}, or clamp what its decode returns."
    _check_range(low, high, declared, name, remedy)
    if declared[0] < 0 <= low and images.min() < 0.5:
        raise UserError(
            f"{name} declares pixels in {_interval(declared)}, but draws none below 0.",
            f"Set its pixel_range to {_interval((0.0, declared[1]))}, {how}.",
        )


def _check_prior(generator: PretrainedGenerator, count: int) -> Tensor:
    """Codes `(count, n)` from the decoder's prior, or normal ones if it has none."""
    name, shape = f"{generator.name}.prior", generator.code_shape
    numbers = torch.Size(shape).numel()
    prior = getattr(generator.decoder, "prior", None)
    if not callable(prior):
        return torch.randn(count, numbers, generator=torch.Generator().manual_seed(0))
    remedy = f"Make prior(count, generator) return float32 codes (count, {', '.join(map(str, shape))})."
    drawn = []
    for _ in range(2):
        try:
            codes = prior(count, torch.Generator().manual_seed(0))
        except UserError:
            raise
        except Exception as error:  # a user-defined prior may raise anything
            raise UserError(f"{name} fails for {count} codes: {type(error).__name__}: {error}.", remedy) from error
        if not isinstance(codes, Tensor) or codes.dtype != torch.float32:
            got = codes.dtype if isinstance(codes, Tensor) else f"a {type(codes).__name__}"
            raise UserError(f"{name} returns {got}.", remedy)
        if tuple(codes.shape) not in ((count, *shape), (count, numbers)):
            raise UserError(f"{name} returns {tuple(codes.shape)} for {count} codes.", remedy)
        if not codes.isfinite().all():
            raise UserError(f"{name} returns NaN or infinity.", "Correct its weights or its layers.")
        drawn.append(codes.detach().flatten(1).cpu())
    if not torch.equal(drawn[0], drawn[1]):
        raise UserError(
            f"{name} draws other codes from a generator with the same seed.",
            "Draw with its generator, as torch.randn(…, generator=generator), and with no other source.",
        )
    return drawn[0]


def _check_last_class(generator: PretrainedGenerator, codes: Tensor, num_classes: int) -> None:
    """Refuse a decoder that draws the first class, but not the last one."""

    def of(label: int) -> Run:
        return lambda part: generator.draw(part, torch.full((len(part),), label))

    error = failure(of(num_classes - 1), codes)
    if error is not None and failure(of(0), codes) is None:
        raise UserError(
            f"{generator.name}.decode fails for class {num_classes - 1}, but not for class 0: "
            f"{type(error).__name__}: {error}.",
            f"Give a decoder of the {num_classes} classes of the dataset, or a dataset of its classes.",
        )


def _check_encoding(encode: Run, images: Tensor, numbers: int, name: str) -> Tensor:
    """The codes of images, `(N, numbers)`."""
    check_channels(encode, images, f"{name}.encode")
    shape = "×".join(map(str, images.shape[1:]))
    with torch.no_grad():
        codes, again, alone = _runs(encode, images, f"{name}.encode", f"images {shape}")
    if codes.ndim != 2 or codes.shape[1] != numbers:
        got = codes[0].numel() if codes.ndim else 1
        raise UserError(
            f"{name}.encode returns {got} numbers for an image, but a code has {numbers}.",
            "Make encode return codes (N, *code_shape), those that decode takes.",
        )
    _check_repeatable(codes, again, alone, f"{name}.encode", "encodes")
    return codes


def _check_drawing(draw: Run, codes: Tensor, images: Tensor, name: str) -> tuple[float, float]:
    """The lowest and the highest of the pixels that are drawn from codes `(N, n)`."""
    codes = codes.clone().requires_grad_()
    drawn, again, alone = _runs(draw, codes, f"{name}.decode", f"codes of {codes.shape[1]} numbers")
    if drawn.shape != images.shape:
        raise UserError(
            f"{name}.decode draws {tuple(drawn.shape)} for {len(codes)} codes, but the images of the dataset are "
            f"{tuple(images.shape)}.",
            _remedy_for_shape(tuple(drawn.shape), tuple(images.shape)),
        )
    _check_repeatable(drawn, again, alone, f"{name}.decode", "draws")
    gradient = None
    if drawn.requires_grad:
        direction = torch.randn(drawn.shape, generator=torch.Generator().manual_seed(0)).to(drawn)
        (gradient,) = torch.autograd.grad((drawn * direction).sum(), codes, allow_unused=True)
    if gradient is None or not gradient.any() or not gradient.isfinite().all():
        raise UserError(
            f"{name}.decode has no gradient with respect to its codes, which attacks follow.",
            "Remove torch.no_grad, detach and rounding from it.",
        )
    return drawn.min().item(), drawn.max().item()


def _check_range(low: float, high: float, declared: tuple[float, float], name: str, remedy: str) -> None:
    if _is_outside(low, high, declared):
        raise UserError(
            f"{name}.decode draws pixels from {low:.3g} to {high:.3g}, but declares them in {_interval(declared)}.",
            remedy,
        )


def _check_heads(network: Generator, images: Tensor, num_classes: int, name: str) -> None:
    """The parts on the codes, and the generator as a whole."""
    try:
        with torch.no_grad():
            codes = network.encode(images).mean
            outputs = network.decode(codes), network.classifier(codes), network.discriminator(codes)
            shapes = [tuple(output.shape) for output in outputs]
    except Exception as error:  # a user-defined network may raise anything
        raise UserError(
            f"{name} is no generator of these images: {type(error).__name__}: {error}.",
            "Give one with the parts of cam_adv.models.generators.base.Generator, for instance a subclass of it.",
        ) from error
    expected = [tuple(images.shape), (len(images), num_classes), (len(images), 1)]
    if shapes != expected:
        raise UserError(
            f"{name} returns images, classes and discriminator logits of shapes {', '.join(map(str, shapes))}.",
            f"Make them {', '.join(map(str, expected))}.",
        )


def _runs(function: Run, inputs: Tensor, name: str, what: str) -> tuple[Tensor, Tensor, Tensor]:
    """What a function returns for a batch, for the same batch again, and for its first row alone."""
    outputs = []
    for part in (inputs, inputs, inputs[:1]):
        try:
            output = function(part)
        except UserError:
            raise
        except Exception as error:  # a user-defined network may raise anything
            raise UserError(
                f"{name} fails on a batch of {len(part)} {what}: {type(error).__name__}: {error}.",
                "Make it take a batch of any size, 1 included, of these in evaluation mode.",
            ) from error
        if not isinstance(output, Tensor) or not output.ndim:
            raise UserError(f"{name} returns a {type(output).__name__}, not a batch.", "Return a tensor (N, …).")
        if not output.isfinite().all():
            raise UserError(f"{name} returns NaN or infinity.", "Correct its weights or its layers.")
        outputs.append(output)
    return outputs[0], outputs[1], outputs[2]


def _check_repeatable(together: Tensor, again: Tensor, alone: Tensor, name: str, verb: str) -> None:
    tolerance = RELATIVE_TOLERANCE * together.abs().max().item()
    if not torch.allclose(again, together, rtol=0, atol=tolerance):
        raise UserError(
            f"{name} {verb} the same differently each time, in evaluation mode.",
            "Switch off its dropout and its noise in evaluation mode: pass training=self.training where it draws.",
        )
    if alone.shape != together[:1].shape or not torch.allclose(alone, together[:1], rtol=0, atol=tolerance):
        raise UserError(
            f"{name} {verb} one differently alone and among {len(together)}, in evaluation mode.",
            "Make its batch norm use its running statistics: pass training=self.training, and squeeze nothing.",
        )


def _remedy_for_shape(drawn: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if len(drawn) != len(wanted) or drawn[0] != wanted[0]:
        return f"Make it return {tuple(wanted)} for {wanted[0]} codes."
    if drawn[1] in (1, 3) and drawn[2:] == wanted[2:]:
        gray = "true" if drawn[1] == 1 else "false"
        return f"Use dataset.gray={gray} {WHERE_SET}, or convert it."
    return f"Use dataset.size={drawn[-1]} {WHERE_SET}, or resize in its decode."


def _is_outside(low: float, high: float, declared: tuple[float, float]) -> bool:
    allowed = OVERSHOOT * (declared[1] - declared[0])
    return low < declared[0] - allowed or high > declared[1] + allowed


def _interval(limits: tuple[float, float]) -> str:
    return f"({limits[0]:g}, {limits[1]:g})"
