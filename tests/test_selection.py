"""Which images are attacked, and toward which class."""

import pytest
import torch

from cam_adv.attack.selection import first_of_each, select
from cam_adv.errors import UserError

LABELS = torch.arange(10).repeat(30)
ELIGIBLE = torch.arange(300) % 7 != 0


@pytest.mark.parametrize("target", ["random", "next", "every", 4])
@pytest.mark.parametrize("seed", range(5))
def test_chosen_images_may_be_attacked_and_go_elsewhere(target: str | int, seed: int) -> None:
    chosen = select(LABELS, ELIGIBLE, 10, 90, None, target, seed)
    assert len(chosen) == 90
    assert ELIGIBLE[chosen.index].all()
    assert len(set(chosen.index.tolist())) == 90
    assert torch.equal(chosen.y, LABELS[chosen.index])
    assert (chosen.y != chosen.target).all()
    assert chosen.target.min() >= 0
    assert chosen.target.max() <= 9


def test_next_is_the_following_class_and_wraps() -> None:
    chosen = select(LABELS, ELIGIBLE, 10, 100, None, "next", 0)
    assert torch.equal(chosen.target, (chosen.y + 1) % 10)


def test_a_source_class_and_a_target_class() -> None:
    chosen = select(LABELS, ELIGIBLE, 10, 20, 7, 9, 0)
    assert set(chosen.y.tolist()) == {7}
    assert set(chosen.target.tolist()) == {9}


@pytest.mark.parametrize("count", [90, 100, 200])
def test_every_pair_gets_its_share(count: int) -> None:
    chosen = select(LABELS, torch.ones(300, dtype=torch.bool), 10, count, None, "every", 0)
    pairs = torch.bincount(chosen.y * 10 + chosen.target, minlength=100).reshape(10, 10)
    assert pairs.diagonal().sum() == 0
    off_diagonal = pairs[~torch.eye(10, dtype=torch.bool)]
    assert off_diagonal.sum() == count
    assert set(off_diagonal.tolist()) <= {count // 90, -(-count // 90)}


def test_random_targets_are_uniform() -> None:
    labels = torch.zeros(9000, dtype=torch.long)
    counts = torch.bincount(select(labels, labels == 0, 10, 9000, None, "random", 0).target, minlength=10)
    assert counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 150  # five standard deviations


def test_the_seed_decides() -> None:
    first, again, other = (select(LABELS, ELIGIBLE, 10, 60, None, "random", seed) for seed in (1, 1, 2))
    assert torch.equal(first.index, again.index)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.index, other.index)


@pytest.mark.parametrize(("target", "source"), [("random", None), ("random", 3), ("every", None)])
def test_too_few_images_are_said(target: str, source: int | None) -> None:
    with pytest.raises(UserError, match=r"attack\.images=500"):
        select(LABELS, ELIGIBLE, 10, 500, source, target, 0)


def test_first_of_each() -> None:
    """Image 7 is of class 7 but not eligible; 17 is the first that is."""
    chosen = first_of_each(LABELS, ELIGIBLE, [(7, 9), (3, 1)])
    assert chosen.index.tolist() == [17, 3]
    assert chosen.y.tolist() == [7, 3]
    assert chosen.target.tolist() == [9, 1]


def test_a_class_that_the_victim_never_gets_right_is_said() -> None:
    with pytest.raises(UserError, match="class 3"):
        first_of_each(LABELS, LABELS != 3, [(3, 1)])
