"""Selected images are eligible, and their targets follow the rule."""

import pytest
import torch

from cam_adv.data.selection import draw_pairs, first_per_pair, sample_per_class, select
from cam_adv.errors import UserError

LABELS = torch.arange(10).repeat(30)
DIGITS = tuple("0123456789")
NAMES = ("ay", "bee", "cee", "dee", *DIGITS[4:])
ELIGIBLE = torch.arange(300) % 7 != 0


@pytest.mark.parametrize("target", ["random", "next", "every", 4])
@pytest.mark.parametrize("seed", range(5))
def test_select_returns_eligible_images_and_other_targets(target: str | int, seed: int) -> None:
    selected = select(LABELS, ELIGIBLE, DIGITS, 90, None, target, seed)
    assert len(selected) == 90
    assert ELIGIBLE[selected.index].all()
    assert len(set(selected.index.tolist())) == 90
    assert torch.equal(selected.y, LABELS[selected.index])
    assert (selected.y != selected.target).all()
    assert selected.target.min() >= 0
    assert selected.target.max() <= 9


def test_select_target_next_is_label_plus_one_mod_k() -> None:
    selected = select(LABELS, ELIGIBLE, DIGITS, 100, None, "next", 0)
    assert torch.equal(selected.target, (selected.y + 1) % 10)


def test_select_source_and_target_class_are_respected() -> None:
    selected = select(LABELS, ELIGIBLE, DIGITS, 20, 7, 9, 0)
    assert set(selected.y.tolist()) == {7}
    assert set(selected.target.tolist()) == {9}


@pytest.mark.parametrize("count", [90, 100, 200])
def test_select_target_every_has_equal_shares_per_pair(count: int) -> None:
    selected = select(LABELS, torch.ones(300, dtype=torch.bool), DIGITS, count, None, "every", 0)
    pairs = torch.bincount(selected.y * 10 + selected.target, minlength=100).reshape(10, 10)
    assert pairs.diagonal().sum() == 0
    off_diagonal = pairs[~torch.eye(10, dtype=torch.bool)]
    assert off_diagonal.sum() == count
    assert set(off_diagonal.tolist()) <= {count // 90, -(-count // 90)}


def test_select_target_random_is_uniform() -> None:
    labels = torch.zeros(9000, dtype=torch.long)
    counts = torch.bincount(select(labels, labels == 0, DIGITS, 9000, None, "random", 0).target, minlength=10)
    assert counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 150  # five standard deviations


def test_select_equal_seeds_give_equal_selections() -> None:
    first, again, other = (select(LABELS, ELIGIBLE, DIGITS, 60, None, "random", seed) for seed in (1, 1, 2))
    assert torch.equal(first.index, again.index)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.index, other.index)


@pytest.mark.parametrize(("target", "source"), [("random", None), ("random", 3), ("every", None)])
def test_select_too_few_images_raises_with_config_key(target: str, source: int | None) -> None:
    with pytest.raises(UserError, match=r"selection\.images=500"):
        select(LABELS, ELIGIBLE, DIGITS, 500, source, target, 0)


@pytest.mark.parametrize("target", ["random", "next", "every", 4])
def test_draw_pairs_has_two_different_classes_for_each_picture(target: str | int) -> None:
    drawn = draw_pairs(10, 95, target, seed=3)
    assert drawn.index.tolist() == list(range(95))
    assert (drawn.y != drawn.target).all()
    for classes in (drawn.y, drawn.target):
        assert classes.dtype == torch.int64
        assert set(classes.tolist()) <= set(range(10))


def test_draw_pairs_follows_the_rule_of_the_target() -> None:
    following, fixed = draw_pairs(10, 50, "next", 0), draw_pairs(10, 50, 4, 0)
    assert torch.equal(following.target, (following.y + 1) % 10)
    assert set(fixed.target.tolist()) == {4}
    assert set(fixed.y.tolist()) == set(range(10)) - {4}


@pytest.mark.parametrize("count", [6, 8, 12])
def test_draw_pairs_target_every_has_equal_shares_per_pair(count: int) -> None:
    """Of three classes: six pairs, and the first ones once more."""
    drawn = draw_pairs(3, count, "every", 0)
    pairs = list(zip(drawn.y.tolist(), drawn.target.tolist(), strict=True))
    six = [(0, 1), (0, 2), (1, 2), (1, 0), (2, 0), (2, 1)]
    assert pairs == (six * 2)[:count]


def test_draw_pairs_target_random_is_uniform_over_pairs() -> None:
    drawn = draw_pairs(10, 90_000, "random", 0)
    counts = torch.bincount(10 * drawn.y + drawn.target, minlength=100).reshape(10, 10)
    assert counts.diagonal().sum() == 0
    assert (counts[~torch.eye(10, dtype=torch.bool)] - 1000).abs().max() < 160  # five standard deviations


def test_draw_pairs_equal_seeds_give_equal_pairs() -> None:
    first, again, other = (draw_pairs(10, 40, "random", seed) for seed in (1, 1, 2))
    assert torch.equal(first.y, again.y)
    assert torch.equal(first.target, again.target)
    assert not torch.equal(first.y, other.y)


def test_first_per_pair_skips_ineligible_images() -> None:
    """Image 7 is of class 7 but not eligible; 17 is the first that is."""
    selected = first_per_pair(LABELS, ELIGIBLE, DIGITS, [(7, 9), (3, 1)])
    assert selected.index.tolist() == [17, 3]
    assert selected.y.tolist() == [7, 3]
    assert selected.target.tolist() == [9, 1]


def test_first_per_pair_class_without_eligible_image_raises() -> None:
    with pytest.raises(UserError, match="class dee"):
        first_per_pair(LABELS, LABELS != 3, NAMES, [(3, 1)])


def test_sample_per_class_has_equal_counts_and_other_targets() -> None:
    selected = sample_per_class(LABELS, ELIGIBLE, DIGITS, 5, seed=0)
    assert torch.bincount(selected.y).tolist() == [5] * 10
    assert ELIGIBLE[selected.index].all()
    assert torch.equal(selected.index, selected.index.unique())
    assert torch.equal(selected.y, LABELS[selected.index])
    assert (selected.y != selected.target).all()


def test_sample_per_class_too_few_images_raises_with_config_key() -> None:
    with pytest.raises(UserError, match=r"study\.images=31 of each class, but only .* of class"):
        sample_per_class(LABELS, LABELS >= 0, DIGITS, 31, seed=0)


def test_sample_per_class_depends_on_the_seed_alone() -> None:
    labels = torch.arange(60) % 4
    eligible = torch.arange(60) % 5 > 0
    first, again, other = (sample_per_class(labels, eligible, tuple("abcd"), 9, seed=seed) for seed in (1, 1, 2))
    assert len(first.index) == 36
    assert set(first.target.tolist()) == {0, 1, 2, 3}
    assert torch.equal(again.index, first.index)
    assert torch.equal(again.target, first.target)
    assert not torch.equal(other.index, first.index)
    with pytest.raises(UserError, match=r"study\.images=13 of each class, but only 12 test images of class a"):
        sample_per_class(labels, eligible, tuple("abcd"), 13, seed=1)


def test_classes_are_named_where_images_are_missing() -> None:
    with pytest.raises(UserError, match="only 30 images of class dee can be attacked"):
        select(LABELS, LABELS >= 0, NAMES, 31, 3, "random", 0)


@pytest.mark.parametrize("target", ["random", "every"])
def test_no_image_at_all_is_told_with_a_remedy_that_is_possible(target: str) -> None:
    with pytest.raises(UserError) as refused:
        select(LABELS, LABELS > 9, NAMES, 31, None, target, 0)
    assert "can be attacked: there is none" in refused.value.what
    assert "0 or less" not in refused.value.remedy
    with pytest.raises(UserError, match="No image of class dee can be attacked"):
        sample_per_class(LABELS, LABELS != 3, NAMES, 1, 0)


@pytest.mark.parametrize(("num_classes", "available"), [(3, [3, 9, 9]), (3, [9, 9, 4]), (4, [5, 3, 9, 9])])
def test_largest_number_for_every_pair_is_the_one_in_the_remedy(num_classes: int, available: list[int]) -> None:
    labels = torch.arange(num_classes).repeat_interleave(torch.tensor(available))
    names, eligible = NAMES[:num_classes], labels >= 0
    with pytest.raises(UserError) as refused:
        select(labels, eligible, names, 100, None, "every", 0)
    largest = int(refused.value.remedy.split()[3])
    assert len(select(labels, eligible, names, largest, None, "every", 0)) == largest
    with pytest.raises(UserError, match=f"Set selection.images to {largest} or less"):
        select(labels, eligible, names, largest + 1, None, "every", 0)
