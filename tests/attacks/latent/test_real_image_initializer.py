"""Starts at real images: against a plain search over all of them."""

import pytest
import torch
from random_networks import TARGET, Y, bind, images, make_attack, networks, real_images

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attacks.latent.initializers import RealImageInitializer
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError


@pytest.mark.parametrize("distance_weight", [0.0, 0.5, 1e6])
def test_real_image_start_is_the_best_of_a_plain_search(distance_weight: float) -> None:
    """With a huge weight of the distance the best is the nearest; the second such start takes the second best."""
    init = ["real_image", "mean", "real_image"]
    bound = bind(make_attack(init=init, init_distance_weight=distance_weight, restart_below_prob=1e-9))
    attack, victim, generator = bound.attack, bound.models.victim.eval(), bound.models.generator
    assert isinstance(attack, LatentAttack)
    assert generator is not None
    generator.eval()
    z0 = generator.encode(images()).mean.detach()
    codes = generator.encode(real_images().images).mean.detach()
    log_odds = victim(generator.decode(codes)).softmax(dim=1).logit().detach()
    for row, (y, target) in enumerate(zip(Y.tolist(), TARGET.tolist(), strict=True)):
        worth = {
            number: float(log_odds[number, y] - distance_weight * (codes[number] - z0[row]).norm())
            for number in range(40)
            if number % 4 == target
        }
        ranked = sorted(worth, key=lambda number: -worth[number])
        for start, rank in ((0, 0), (2, 1)):
            one = slice(row, row + 1)
            found = attack._start(start, z0[one], Y[one], TARGET[one], bound.prepared)
            assert torch.allclose(found[0], codes[ranked[rank]], atol=1e-12)


def test_real_image_start_ranks_unrecognised_images_last() -> None:
    initializer = bind(make_attack()).prepared
    assert isinstance(initializer, RealImageInitializer)
    z0, y, target = initializer.codes[:1] + 1, torch.tensor([0]), torch.tensor([1])
    initializer.proxy_prob.zero_()
    initializer.proxy_prob[17] = 1  # an image of class 1
    assert torch.equal(initializer.start(0, z0, y, target, 0.9)[0], initializer.codes[17])


def test_real_image_start_without_image_of_the_class_raises() -> None:
    victim, generator, surrogates = networks()
    threes = LabelledImages(real_images().images, torch.full((40,), 3))
    bound = BoundAttack(make_attack(), AttackModels(victim, generator, surrogates, threes))
    with pytest.raises(UserError, match="no real image of class 1"):
        bound(images(), Y, TARGET)


def test_real_image_start_without_real_images_raises() -> None:
    victim, generator, surrogates = networks()
    with pytest.raises(UserError, match="init has real_image"):
        BoundAttack(make_attack(), AttackModels(victim, generator, surrogates))
