"""Decoders from elsewhere, as their users write them: they import nothing of this package."""

import torch
from torch import Tensor, nn

SIZE = (8, 8)
CLASSES = 3


def weight(rows: int, columns: int, seed: int = 0) -> Tensor:
    """Orthonormal rows."""
    drawn = torch.randn(columns, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(drawn).Q[:rows].float()


class SigmoidDecoder(nn.Module):
    """Draws from four numbers, and can't encode."""

    code_shape = 4

    def __init__(self, image_size: tuple[int, int] = SIZE, in_channels: int = 1) -> None:
        super().__init__()
        self.shape = (in_channels, *image_size)
        self.register_buffer("weight", 3 * weight(4, torch.Size(self.shape).numel()))

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.weight).sigmoid().unflatten(1, self.shape)


class TanhDecoder(SigmoidDecoder):
    """The same image in [-1, 1]."""

    pixel_range = (-1, 1)

    def decode(self, z: Tensor) -> Tensor:
        return 2 * super().decode(z) - 1


class ClassDecoder(SigmoidDecoder):
    """Adds one of three patterns, that of the class."""

    def __init__(self, image_size: tuple[int, int] = SIZE) -> None:
        super().__init__(image_size)
        self.pattern = nn.Embedding(CLASSES, image_size[0] * image_size[1])
        self.pattern.weight.data = 20 * weight(CLASSES, image_size[0] * image_size[1], seed=1)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        return (z @ self.weight + self.pattern(y)).sigmoid().unflatten(1, self.shape)


class LinearAutoencoder(nn.Module):
    """Codes `(4, 4, 4)` of images 8×8 in [-1, 1], each the other turned: nothing is lost."""

    code_shape = (4, 4, 4)
    pixel_range = (-1.0, 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Linear(64, 64, bias=False)
        self.turn.weight.data = weight(64, 64)

    def encode(self, x: Tensor) -> Tensor:
        return self.turn(x.flatten(1)).reshape(-1, 4, 4, 4)

    def decode(self, z: Tensor) -> Tensor:
        return (z.flatten(1) @ self.turn.weight).reshape(-1, 1, 8, 8)
