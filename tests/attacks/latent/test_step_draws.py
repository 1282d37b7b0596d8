"""The draws of steps: as drawn one by one, whatever the block, and what they do to images."""

import pytest
import torch
from random_networks import images

from cam_adv.attacks.latent import step_draws
from cam_adv.attacks.latent.step_draws import SEED_STRIDE, Draws, StepDraws, random_shift_and_noise

SHAPE = (3, 6, 4)


def one_by_one(seed: int, step: int) -> Draws:
    generator = torch.Generator().manual_seed(seed * SEED_STRIDE + step)
    eps = torch.randn(2, 5, generator=generator)
    shift = torch.randint(-2, 3, (2,), generator=generator)
    return Draws(eps, shift, torch.randn(SHAPE, generator=generator))


@pytest.mark.parametrize("block_bytes", [1, 1000, 10**6])
def test_draws_depend_on_seed_and_step_alone(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_draws, "BLOCK_BYTES", block_bytes)
    draws, memory = StepDraws(7, 9, 2, 5, SHAPE, 2), set()
    for step in (0, 1, 2, 9, 4, 4):
        draws.load(step, torch.zeros(1, dtype=torch.float64))
        wanted = one_by_one(7, step)
        assert torch.equal(draws.now.eps, wanted.eps.double())
        assert torch.equal(draws.now.shift, wanted.shift)
        assert torch.equal(draws.now.grain, wanted.grain.double())
        memory.add((draws.now.eps.data_ptr(), draws.now.shift.data_ptr(), draws.now.grain.data_ptr()))
    assert len(memory) == 1


def draws_of(down: int, right: int, grain: torch.Tensor) -> Draws:
    return Draws(torch.empty(0), torch.tensor([down, right]), grain)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, -2), (-3, 0), (5, 3)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_shift_is_torch_roll_with_its_gradient(down: int, right: int, memory_format: torch.memory_format) -> None:
    given = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)).to(memory_format=memory_format)
    weights = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    given.requires_grad_()
    shifted = random_shift_and_noise(given, 0.0, draws_of(down, right, torch.zeros(SHAPE)))
    rolled = torch.roll(given, (down, right), dims=(2, 3))
    assert torch.equal(shifted, rolled)
    assert shifted.stride() == given.stride()
    assert torch.equal(*(torch.autograd.grad((views * weights).sum(), given)[0] for views in (shifted, rolled)))


def test_noise_is_the_same_for_all_images() -> None:
    grain = torch.randn(1, 28, 28, generator=torch.Generator().manual_seed(0))
    views = random_shift_and_noise(images(), 0.1, draws_of(0, 0, grain))
    assert torch.allclose(views - images(), 0.1 * grain.double().expand(5, -1, -1, -1), atol=1e-7)
