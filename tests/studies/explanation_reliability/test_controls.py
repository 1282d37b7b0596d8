"""Control images with known answers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.svae import SVAE
from cam_adv.studies.explanation_reliability import controls
from cam_adv.studies.explanation_reliability.controls import AttackedImages


class IdentityGenerator(nn.Module):
    """A generator whose images are its codes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def decode(self, codes: Tensor) -> Tensor:
        return codes


class Sign(nn.Module):
    """A classifier of codes by the sign of their first number: class 0 where it is positive."""

    def forward(self, codes: Tensor) -> Tensor:
        return torch.stack([codes[:, 0], -codes[:, 0]], dim=1)


CODES = torch.randn(400, 2, generator=torch.Generator().manual_seed(5))
DENSITY = LatentDensity(torch.cat([CODES[:200], CODES[200:] + 8]), torch.arange(2).repeat_interleave(200))
"""Class 0 around (0, 0), class 1 around (8, 8)."""


def attacked_images(x: Tensor, x_adv: Tensor, **changes: Any) -> AttackedImages:
    """One attack; every image is of class 0, and the real images are the attacked ones."""
    count = len(x)
    index, zeros, codes = torch.arange(count), torch.zeros(count, dtype=torch.long), torch.zeros(count, 2)
    attacked = AttackedImages(
        index=index,
        y=zeros,
        target=zeros + 1,
        x=x,
        x_adv=x_adv,
        z0=codes,
        z_start=codes + 0.5,
        z=codes + 1,
        transition=x_adv,
        victim=nn.Identity(),
        generator=IdentityGenerator(),
        density=DENSITY,
        real=LabelledImages(x, zeros),
        real_index=index,
        reconstructed=x,
        class_names=("0", "1"),
        seed=0,
    )
    return replace(attacked, **changes)


X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)).mul(1.4).sub(0.2).clamp(0, 1)
"""Some pixels are 0 or 1."""


def attacked_at_distance(distance: Tensor) -> AttackedImages:
    """An attack whose images are at the given distance from x."""
    perturbation = torch.zeros_like(X)
    perturbation[:, 0, 0, 0] = distance
    return attacked_images(X, X + perturbation)


def test_pixel_noise_after_clipping_has_the_attacks_distance() -> None:
    distance = torch.tensor([0.01, 0.5, 1.0, 2.0, 3.0, 0.0])
    noisy = controls.pixel_noise(attacked_at_distance(distance))
    assert torch.allclose((noisy - X).flatten(1).norm(dim=1), distance, atol=1e-5)
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_pixel_noise_unreachable_distance_moves_every_pixel_to_the_range_limit() -> None:
    noisy = controls.pixel_noise(attacked_at_distance(torch.full((6,), 100.0)))
    assert (((noisy == 0) | (noisy == 1)).float().mean(dim=(1, 2, 3)) == 1).all()


def test_random_latent_perturbation_stays_in_the_class_at_the_attacks_latent_distance() -> None:
    """The victim calls a code of class 0 where its first number is positive. No code of class 0 is 50 away."""
    z0, distance = torch.tensor([[0.3, -0.2]]).repeat(6, 1), torch.tensor([0.5, 1.0, 1.5, 2.0, 0.0, 50.0])
    attacked = attacked_images(
        z0,
        z0,
        z0=z0,
        z=z0 + distance[:, None] * torch.tensor([0.6, 0.8]),
        victim=Sign(),
        density=DENSITY.float(),
    )
    perturbed = controls.random_latent_perturbation(attacked)
    assert torch.allclose((perturbed - z0).norm(dim=1)[:5], distance[:5], atol=1e-5)
    assert (perturbed[:5, 0] > 0).all()
    assert DENSITY.float().contains(perturbed[:5], attacked.y[:5]).all()
    assert not torch.allclose(perturbed[:4], attacked.z[:4], atol=0.1)
    assert perturbed[5].isnan().all()
    assert torch.equal(perturbed[:5], controls.random_latent_perturbation(attacked)[:5])


def test_reconstruction_decodes_the_posterior_mean() -> None:
    generator = SVAE(1, 3, (8, 8), 4, width=2, hidden=8).eval()
    expected = generator.decode(generator.encode(X).mean)
    found = controls.reconstruction(attacked_images(X, X, generator=generator))
    assert torch.allclose(found, expected, atol=1e-6)


def test_start_decodes_the_code_that_the_attack_starts_from() -> None:
    assert torch.equal(controls.start(attacked_images(X, X)), torch.full((6, 2), 0.5))


def test_blank_image_is_black_and_transition_is_passed_through() -> None:
    attacked = attacked_images(X, X, transition=1 - X)
    assert torch.equal(controls.blank_image(attacked), torch.zeros_like(X))
    assert torch.equal(controls.transition(attacked), 1 - X)


def test_real_controls_have_the_class_and_the_nearest_distance() -> None:
    """One pixel: real images at 0, 0.1, …, 0.9, even ones of class 0; x is image 0, of class 0."""
    pixels = torch.arange(10).reshape(10, 1, 1, 1) / 10
    x = pixels[[0, 0, 0]]
    attacked = attacked_images(
        x,
        x + torch.tensor([0.05, 0.58, 0.22]).reshape(3, 1, 1, 1),
        index=torch.zeros(3, dtype=torch.long),
        real=LabelledImages(pixels, torch.arange(10) % 2),
        real_index=torch.arange(10),
    )
    assert controls.real_pair(attacked).flatten().tolist() == pytest.approx([0.2, 0.6, 0.2])  # never x itself
    assert controls.real_target(attacked).flatten().tolist() == pytest.approx([0.1, 0.5, 0.3])


def test_real_pair_class_without_other_images_is_refused() -> None:
    with pytest.raises(UserError, match="no other test image of class 0"):
        controls.real_pair(attacked_images(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)))
