"""Starts at real images: against a plain search over all of them."""

from typing import Any

import pytest
import torch
from random_networks import TARGET, Y, bind, images, make_attack, networks, real_images

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.attack import LatentAttack, Prepared
from cam_adv.attacks.latent.initializers import RealImageInitializer
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError


def prepared(bound: BoundAttack) -> RealImageInitializer:
    """The real images of an attack that starts at them."""
    assert isinstance(bound.prepared, Prepared)
    assert bound.prepared.initializer is not None
    return bound.prepared.initializer


@pytest.mark.parametrize("distance_weight", [0.0, 0.5, 1e6])
def test_real_image_start_is_the_best_of_a_plain_search(distance_weight: float) -> None:
    """With one candidate. With a huge weight of the distance the best is the nearest; the second such start takes
    the second best."""
    init = ["real_image", "mean", "real_image"]
    changes: dict[str, Any] = {
        "init_candidates": 1,
        "init_distance_weight": distance_weight,
        "restart_below_prob": 1e-9,
    }
    bound = bind(make_attack(init=init, **changes))
    attack, victim, generator = bound.attack, bound.models.victim.eval(), bound.models.generator
    assert isinstance(attack, LatentAttack)
    assert generator is not None
    generator.eval()
    z0 = generator.encode(images()).mean.detach()
    codes = generator.encode(real_images().images).mean.detach()
    log_odds = victim(generator.decode(codes)).softmax(dim=1).logit().detach()
    assert isinstance(bound.prepared, Prepared)
    for row, (y, target) in enumerate(zip(Y.tolist(), TARGET.tolist(), strict=True)):
        worth = {
            number: float(log_odds[number, y] - distance_weight * (codes[number] - z0[row]).norm())
            for number in range(40)
            if number % 4 == target
        }
        ranked = sorted(worth, key=lambda number: -worth[number])
        for start, rank in ((0, 0), (2, 1)):
            one = slice(row, row + 1)
            found = attack._start(start, images()[one], z0[one], Y[one], TARGET[one], bound.prepared)
            assert torch.allclose(found[0], codes[ranked[rank]], atol=1e-12)


def test_real_image_start_ranks_unrecognised_images_last() -> None:
    initializer = prepared(bind(make_attack(init=["real_image"], init_candidates=1)))
    z0, y, target = initializer.codes[:1] + 1, torch.tensor([0]), torch.tensor([1])
    initializer.proxy_prob.zero_()
    initializer.proxy_prob[17] = 1  # an image of class 1
    assert torch.equal(initializer.start(0, images()[:1], z0, y, target, 0.9)[0], initializer.codes[17])


def test_real_image_start_without_image_of_the_class_raises() -> None:
    victim, generator, surrogates = networks()
    threes = LabelledImages(real_images().images, torch.full((40,), 3))
    models = AttackModels(victim, generator, surrogates, threes, threes)
    bound = BoundAttack(make_attack("type1_latent", init=["real_image"]), models)
    with pytest.raises(UserError, match="no real image of class 1"):
        bound(images(), Y, TARGET)


def test_real_image_start_without_real_images_raises() -> None:
    victim, generator, surrogates = networks()
    with pytest.raises(UserError, match="init has real_image"):
        BoundAttack(make_attack(init=["mean", "real_image"]), AttackModels(victim, generator, surrogates))


class TestCandidates:
    """64 images of class 0, all of whose codes are the same, start at images of class 1."""

    COUNT = 64

    def starts(self, candidates: int, rank: int = 0, seed: int = 0, rows: slice = slice(None)) -> torch.Tensor:
        """The index of the start of each image among the real images of class 1, from best to worst."""
        attack = make_attack(init=["real_image"], init_candidates=candidates)
        initializer = prepared(bind(attack, seed=seed))
        x, labels = self.images()[rows], torch.zeros(self.COUNT, dtype=torch.long)[rows]
        z0 = torch.zeros(len(x), 5, dtype=torch.float64)
        found = initializer.start(rank, x, z0, labels, labels + 1, 1e-9)
        members = initializer.labels == 1
        codes, log_odds = initializer.codes[members], initializer.victim_logits[members].softmax(dim=1)[:, 0].logit()
        ranked = codes[(log_odds - 4 * codes.norm(dim=1)).argsort(descending=True)]
        equal = (found[:, None] == ranked[None]).all(dim=2)
        assert (equal.sum(dim=1) == 1).all()
        return equal.int().argmax(dim=1)

    def images(self) -> torch.Tensor:
        return torch.rand(self.COUNT, 1, 28, 28, generator=torch.Generator().manual_seed(9), dtype=torch.float64)

    def test_start_is_one_of_the_best_candidates_each_about_equally_often(self) -> None:
        """A candidate is drawn 16 times on average; 3 or fewer, or 32 or more, has a probability below 1e-4."""
        counts = self.starts(4).bincount()
        assert len(counts) == 4
        assert counts.min() > 3
        assert counts.max() < 32

    def test_one_candidate_is_the_best(self) -> None:
        assert self.starts(1).tolist() == [0] * self.COUNT

    def test_more_candidates_than_images_of_the_class_are_all_of_them(self) -> None:
        assert set(self.starts(1000).tolist()) == set(range(10))

    @pytest.mark.parametrize("candidates", [1, 2, 4, 1000])
    def test_ranks_give_every_image_of_the_class_once_and_the_candidates_first(self, candidates: int) -> None:
        orders = torch.stack([self.starts(candidates, rank) for rank in range(10)], dim=1)
        assert torch.equal(orders.sort(dim=1).values, torch.arange(10).expand(self.COUNT, -1))
        drawn = orders[:, :candidates].sort(dim=1).values
        assert torch.equal(drawn, torch.arange(min(candidates, 10)).expand(self.COUNT, -1))
        assert torch.equal(orders[:, candidates:], torch.arange(min(candidates, 10), 10).expand(self.COUNT, -1))

    def test_rank_beyond_the_last_image_gives_the_last(self) -> None:
        assert torch.equal(self.starts(4, rank=99), self.starts(4, rank=9))

    def test_start_depends_on_the_image_and_the_seed_but_not_on_the_batch(self) -> None:
        whole = self.starts(10)
        parts = [self.starts(10, rows=slice(first, first + 5)) for first in range(0, self.COUNT, 5)]
        assert torch.equal(torch.cat(parts), whole)
        assert torch.equal(self.starts(10), whole)
        assert (self.starts(10, seed=1) != whole).float().mean() > 0.5

    def test_start_does_not_depend_on_the_last_bits_of_the_image(self) -> None:
        attack = make_attack(init=["real_image"], init_candidates=10)
        initializer = prepared(bind(attack))
        x = (self.images() * 255).round() / 255
        labels, z0 = torch.zeros(self.COUNT, dtype=torch.long), torch.zeros(self.COUNT, 5, dtype=torch.float64)
        exact, other = (initializer.start(0, image, z0, labels, labels + 1, 1e-9) for image in (x, x.float() - 1e-6))
        assert torch.equal(exact, other)
