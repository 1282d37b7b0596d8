"""A generator made of a trained decoder from elsewhere."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.models.generators.code_decoder import DECODER, code_shape_of, pixel_range_of
from cam_adv.models.generators.inversion import Inversion
from cam_adv.models.generators.principal_components import PrincipalComponents
from cam_adv.models.generators.svae import dense
from cam_adv.models.predictions import batched_apply

CLASS_STD = 1e-6
"""Standard deviation of the class part of a code, which is not uncertain; positive, since its logarithm is taken."""


class PretrainedGenerator(Generator):
    """A `CodeDecoder` with what it lacks: f2 and D on its codes, and an encoder if it has none.

    The decoder is frozen: its weights never change and it stays in evaluation mode. `LatentHeadsTraining` trains the
    other parts. A code is `(F,)`, the decoder's own code, flattened, or its principal components; for a
    class-conditional decoder it is `(F + K,)`, with the class as a one-hot vector behind it, of which `decode` takes
    the largest number, so that no gradient changes the class.
    """

    code_std: Tensor

    def __init__(
        self,
        decoder: nn.Module | Callable[..., nn.Module],
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        components: int | None = None,
        code_noise: float = 0.1,
        encoder: Callable[..., nn.Module] | None = None,
        inversion: Inversion | None = None,
    ) -> None:
        """
        Args:
            decoder: a `CodeDecoder`, or a function that makes it, which gets `in_channels`, `num_classes` and
                `image_size` if its signature has them.
            components: number of whitened principal components of the decoder's codes of training images that make
                up z; None: z is the decoder's code as it is.
            code_noise: standard deviation of the posterior where `encode` gives none, in units of the standard
                deviation of each number of z over training images.
            encoder: makes a network from `in_channels`, `image_size` and `out_features`: one predicts the codes for a
                decoder without `encode`, one the classes for a class-conditional decoder; None: neither is needed.
            inversion: improves predicted codes, in `invert`; None: they are left as they are.

        Raises:
            UserError: the decoder can't be made, or lacks what a `CodeDecoder` has; there is no encoder where one is
                needed; there are components without `encode`; `code_noise` is not positive.
        """
        super().__init__()
        given = {"in_channels": in_channels, "num_classes": num_classes, "image_size": tuple(image_size)}
        self.name = f"{DECODER} ({_name(decoder)})"
        self.decoder: Any = _made(decoder, given, self.name).eval().requires_grad_(False)
        self.code_shape = code_shape_of(self.decoder, self.name)
        self.pixel_range = pixel_range_of(self.decoder, self.name)
        encodes = callable(getattr(self.decoder, "encode", None))
        self.class_conditional = "y" in inspect.signature(self.decoder.decode).parameters
        self.code_noise, self.inversion = code_noise, inversion

        numbers = math.prod(self.code_shape)
        if components is not None and not encodes:
            raise UserError(
                f"model.generator.network.components={components} are those of codes of training images, but "
                f"{self.name} has no encode.",
                "Set model.generator.network.components to null.",
            )
        if code_noise <= 0:
            raise UserError(
                f"model.generator.network.code_noise={code_noise} is not positive.", "Give 0.1, for instance."
            )
        self.components = None if components is None else PrincipalComponents(numbers, components)
        self.free_size = numbers if components is None else components
        self.class_size = num_classes if self.class_conditional else 0
        self.latent_size = self.free_size + self.class_size
        if encoder is None and (self.class_conditional or not encodes):
            lacks = "takes a class, which is to be read in images" if encodes else "has no encode"
            raise UserError(
                f"{self.name} {lacks}, but model.generator.network.encoder is null.",
                "Give an encoder to train, as model/generator=own has it.",
            )

        def made(out_features: int) -> nn.Module:
            assert encoder is not None
            return encoder(in_channels=in_channels, image_size=tuple(image_size), out_features=out_features)

        self.code_encoder = None if encodes else made(numbers)
        self.class_encoder = made(num_classes) if self.class_conditional else None
        self.classifier = dense([self.latent_size, 256, 128, num_classes])
        self.discriminator = dense([self.latent_size, 256, 128, 64, 1])
        self.register_buffer("code_std", torch.ones(self.free_size))

    def extra_repr(self) -> str:
        """What codes depend on beside the weights."""
        return f"code_noise={self.code_noise}, inversion={self.inversion}"

    @property
    def trains_encoder(self) -> bool:
        """Whether codes or classes are predicted by a network that is trained here."""
        return self.code_encoder is not None or self.class_encoder is not None

    def train(self, mode: bool = True) -> "PretrainedGenerator":
        """Set the mode of all parts but the decoder."""
        super().train(mode)
        self.decoder.eval()
        return self

    def train_encoders(self, mode: bool) -> None:
        """Set the mode of the networks that predict codes and classes alone."""
        for encoder in (self.code_encoder, self.class_encoder):
            if encoder is not None:
                encoder.train(mode)

    @torch.no_grad()
    def fit_codes(self, images: Tensor) -> None:
        """Determine the principal components and the spread of codes from training images, `(N, C, H, W)`.

        Leaves the networks that predict codes and classes in evaluation mode.

        Raises:
            UserError: the codes vary in fewer directions than there are components.
        """
        self.train_encoders(False)
        device = self.code_std.device
        codes = batched_apply(lambda part: self.own_codes(part)[0], images, device).to(device)
        if self.components is not None:
            self.components.fit(codes)
            codes = self.components(codes)
        self.code_std.copy_(codes.std(dim=0))

    def own_codes(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """The decoder's own codes of images in [0, 1], flattened, `(N, n)`, and their std if it returns one.

        Raises:
            UserError: its `encode` returns neither codes nor their mean and std.
        """
        if self.code_encoder is not None:
            return self.code_encoder(images), None
        low, high = self.pixel_range
        encoded = self.decoder.encode(low + (high - low) * images)
        if isinstance(encoded, Tensor):
            return encoded.flatten(1), None
        mean, std = getattr(encoded, "mean", None), getattr(encoded, "std", None)
        if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
            raise UserError(
                f"{self.name}.encode returns a {type(encoded).__name__}.",
                "Return codes, or an object with mean and std, such as Posterior.",
            )
        return mean.flatten(1), std.flatten(1)

    def encode(self, images: Tensor) -> Posterior:
        """See `Generator.encode`. The class part has the gradient of the predicted probabilities."""
        codes, std = self.own_codes(images)
        if self.components is not None:
            codes, std = self.components(codes), None if std is None else self.components.spread(std)
        if std is None:
            std = (self.code_noise * self.code_std).expand_as(codes)
        if self.class_encoder is None:
            return Posterior(codes, std)
        probs = self.class_encoder(images).softmax(dim=1)
        class_part = self._one_hot(probs.argmax(dim=1), codes) + (probs - probs.detach())
        class_std = torch.full_like(class_part, CLASS_STD)
        return Posterior(torch.cat([codes, class_part], dim=1), torch.cat([std, class_std], dim=1))

    def decode(self, codes: Tensor) -> Tensor:
        """See `Generator.decode`."""
        free, class_part = codes[:, : self.free_size], codes[:, self.free_size :]
        own = free if self.components is None else self.components.inverse(free)
        labels = class_part.argmax(dim=1) if self.class_conditional else None
        low, high = self.pixel_range
        return ((self.draw(own, labels) - low) / (high - low)).clamp(0, 1)

    def draw(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """The decoder's images in `pixel_range` of its own codes, flattened, `(N, n)` and labels, if it takes any."""
        z = codes.unflatten(1, self.code_shape)
        images: Tensor = self.decoder.decode(z) if labels is None else self.decoder.decode(z, y=labels)
        return images

    def sample_prior(self, count: int, generator: torch.Generator) -> Tensor:
        """Samples of the decoder's prior, N(0, I) if it has none or z are principal components, of random classes."""
        if self.components is None and callable(getattr(self.decoder, "prior", None)):
            free = self.decoder.prior(count, generator).flatten(1).cpu()
        else:
            free = torch.randn(count, self.free_size, generator=generator)
        if not self.class_conditional:
            return free
        labels = torch.randint(self.class_size, (count,), generator=generator)
        return torch.cat([free, self._one_hot(labels, free)], dim=1)

    def invert(self, images: Tensor) -> Posterior:
        """See `Generator.invert`: what the trained encoder predicts is refined by gradients on the pixels."""
        posterior = self.encode(images)
        if self.code_encoder is None or self.inversion is None:
            return posterior
        return Posterior(self.inversion.refine(self.decode, posterior.mean, images), posterior.std)

    def with_class(self, codes: Tensor, labels: Tensor) -> Tensor:
        """See `Generator.with_class`."""
        if not self.class_conditional:
            return codes
        return torch.cat([codes[:, : self.free_size], self._one_hot(labels, codes)], dim=1)

    def _one_hot(self, labels: Tensor, codes: Tensor) -> Tensor:
        return functional.one_hot(labels, self.class_size).to(codes)


def _made(decoder: nn.Module | Callable[..., nn.Module], given: dict[str, Any], name: str) -> Any:
    if isinstance(decoder, nn.Module):
        return decoder
    configured = decoder.keywords if isinstance(decoder, partial) else {}
    try:
        parameters = inspect.signature(decoder).parameters
        made = decoder(**{key: given[key] for key in given if key in parameters and key not in configured})
    except UserError:
        raise
    except Exception as error:  # a user's module may raise anything
        raise UserError(
            f"{name} can't be made: {type(error).__name__}: {error}.", f"Give what it needs as +{DECODER}.NAME=VALUE."
        ) from error
    if not isinstance(made, nn.Module):
        raise UserError(
            f"{name} made a {type(made).__name__}, not a torch.nn.Module.",
            "Give a class of networks, or a function that returns one.",
        )
    return made


def _name(decoder: nn.Module | Callable[..., nn.Module]) -> str:
    """Import path of a decoder's class, or of the function that makes it."""
    if isinstance(decoder, partial):
        return _name(decoder.func)
    named = type(decoder) if isinstance(decoder, nn.Module) else decoder
    return f"{named.__module__}.{getattr(named, '__qualname__', type(named).__qualname__)}"
