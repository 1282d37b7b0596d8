"""The random draws of the steps of a latent attack."""

from dataclasses import dataclass

import torch
from torch import Tensor

SEED_STRIDE = 1_000_003
"""Distance between the noise seeds of two attack seeds; a prime that no number of steps reaches."""

BLOCK_BYTES = 32 * 2**20
"""Memory of the draws that are made at once."""


@dataclass(frozen=True)
class Draws:
    """The draws of a step, or of several steps with one more dimension in front.

    eps: standard normal, `(S, D)`: the neighbourhood of z over which f2's loss is averaged.
    shift: pixels by which images are shifted circularly, down and to the right, `(2,)` int64.
    grain: standard normal, `(C, H, W)`: noise on the pixels.
    """

    eps: Tensor
    shift: Tensor
    grain: Tensor


class StepDraws:
    """The draws of each step, which depend on the seed and the step alone: no sample depends on its batch.

    They are made on the CPU, so that every device has the same, and for many steps at once, so that a step does not
    wait for a copy. `now` are those of the step that was loaded last, always in the same memory.
    """

    def __init__(
        self, seed: int, steps: int, samples: int, latent_size: int, image_shape: tuple[int, ...], shift: int
    ) -> None:
        """
        Args:
            steps: the last step.
            samples: S.
            shift: largest shift along each axis, in pixels.
        """
        self.seed, self.steps, self.largest_shift = seed, steps, shift
        self.eps_shape, self.image_shape = (samples, latent_size), tuple(image_shape)
        numbers = samples * latent_size + torch.Size(image_shape).numel()
        self.block_steps = max(1, BLOCK_BYTES // (4 * numbers))
        self._block: tuple[int, Draws] | None = None
        self._now: Draws | None = None

    @property
    def now(self) -> Draws:
        """The draws of the loaded step."""
        assert self._now is not None  # from `load`
        return self._now

    def load(self, step: int, like: Tensor) -> None:
        """Make the draws of `step` the current ones, in the dtype and on the device of `like`."""
        first = step - step % self.block_steps
        if self._block is None or self._block[0] != first:
            self._block = first, self._draw(range(first, min(first + self.block_steps, self.steps + 1)), like)
        block, row = self._block[1], step - first
        if self._now is None:
            self._now = Draws(block.eps[row].clone(), block.shift[row].clone(), block.grain[row].clone())
            return
        self._now.eps.copy_(block.eps[row])
        self._now.shift.copy_(block.shift[row])
        self._now.grain.copy_(block.grain[row])

    def _draw(self, steps: range, like: Tensor) -> Draws:
        eps, shift, grain = [], [], []
        for step in steps:
            generator = torch.Generator().manual_seed(self.seed * SEED_STRIDE + step)
            eps.append(torch.randn(self.eps_shape, generator=generator))
            shift.append(torch.randint(-self.largest_shift, self.largest_shift + 1, (2,), generator=generator))
            grain.append(torch.randn(self.image_shape, generator=generator))
        return Draws(torch.stack(eps).to(like), torch.stack(shift).to(like.device), torch.stack(grain).to(like))


def random_shift_and_noise(images: Tensor, noise: float, draws: Draws) -> Tensor:
    """Shift all images `(N, C, H, W)` circularly by the same few pixels and add the same Gaussian noise.

    A proxy is then not fooled by single pixels.

    Args:
        noise: standard deviation.
        draws: of one step.
    """
    return _shifted(images, draws.shift) + noise * draws.grain.to(images.dtype)


def _shifted(images: Tensor, shift: Tensor) -> Tensor:
    """`torch.roll` of images by as many pixels as a tensor says, which need not be copied to the CPU."""
    height, width = images.shape[2:]
    rows = (torch.arange(height, device=images.device) - shift[0]) % height
    columns = (torch.arange(width, device=images.device) - shift[1]) % width
    source = (rows.unsqueeze(1) * width + columns).flatten().expand(*images.shape[:2], -1)
    shifted = images.flatten(2).gather(2, source).view(images.shape)
    # As the images were, for the convolution that follows.
    is_channels_last = images.is_contiguous(memory_format=torch.channels_last)
    return shifted.contiguous(memory_format=torch.channels_last if is_channels_last else torch.contiguous_format)
