"""Splits, batches, augmentation and digests, on images that can be told apart by their pixels."""

from dataclasses import replace

import pytest
import torch

from cam_adv.data.augmentation import random_affine
from cam_adv.data.module import Augmentation, BatchLoader
from cam_adv.data.splits import LabelledImages, split, stratified_indices
from cam_adv.errors import UserError

STILL = Augmentation()
WILD = Augmentation(shift=2.0, rotation=30.0, scale=0.2, shear=0.1)


def numbered(counts: list[int], first: int = 0) -> LabelledImages:
    """`counts[c]` images of each class c, mixed; image n holds the number n in its first two pixels."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]
    number = torch.arange(first, first + len(labels))
    images = torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = number // 256, number % 256
    return LabelledImages(images, labels)


def numbers(images: torch.Tensor) -> list[int]:
    """The numbers of images from `numbered`, as bytes or in [0, 1]."""
    pixels = images if images.dtype == torch.uint8 else (images * 255).round()
    return (pixels[:, 0, 0, 0].long() * 256 + pixels[:, 0, 0, 1].long()).tolist()


def per_class(labels: torch.Tensor) -> list[int]:
    return labels.bincount().tolist()


class TestStratifiedIndices:
    @pytest.mark.parametrize(
        ("counts", "fraction", "second"),
        [
            ([10, 20, 30], 0.1, [1, 2, 3]),
            ([10, 20, 30], 0.5, [5, 10, 15]),
            ([7, 8], 0.25, [2, 2]),  # 1.75 and 2
            ([2, 100], 0.01, [1, 1]),  # never none
            ([3, 3], 0.6, [2, 2]),  # 1.8
        ],
    )
    def test_each_class_gives_its_share(self, counts: list[int], fraction: float, second: list[int]) -> None:
        data = numbered(counts)
        left, right = stratified_indices(data.labels, fraction, seed=0)
        assert per_class(data.labels[right]) == second
        assert sorted([*left.tolist(), *right.tolist()]) == list(range(sum(counts)))

    def test_depends_on_the_seed_alone(self) -> None:
        labels = numbered([50, 50]).labels
        first, again, other = (stratified_indices(labels, 0.3, seed)[1].tolist() for seed in (4, 4, 5))
        assert first == again
        assert first != other

    @pytest.mark.parametrize(("counts", "fraction"), [([1, 9], 0.2), ([3, 9], 0.9)])
    def test_refuses_a_class_that_would_have_none_left(self, counts: list[int], fraction: float) -> None:
        with pytest.raises(UserError, match=f"Class 0 has {counts[0]} images, too few"):
            stratified_indices(numbered(counts).labels, fraction, seed=0)


class TestSplit:
    def test_takes_the_test_images_out_of_the_pool(self) -> None:
        parts = split(numbered([100, 200]), None, ("a", "b"), 0.05, 0.2, seed=3)
        shares = [per_class(part.labels) for part in (parts.train, parts.validation, parts.test)]
        assert shares == [[75, 150], [5, 10], [20, 40]]
        found = [number for part in (parts.train, parts.validation, parts.test) for number in numbers(part.images)]
        assert sorted(found) == list(range(300))

    def test_leaves_test_images_of_its_own_as_they_are(self) -> None:
        own = numbered([5, 5], first=300)
        parts = split(numbered([100, 200]), own, ("a", "b"), 0.1, None, seed=3)
        assert numbers(parts.test.images) == list(range(300, 310))
        assert [per_class(parts.train.labels), per_class(parts.validation.labels)] == [[90, 180], [10, 20]]
        assert sorted(numbers(parts.train.images) + numbers(parts.validation.images)) == list(range(300))

    def test_keeps_each_image_with_its_label(self) -> None:
        pool = numbered([40, 60, 20])
        parts = split(pool, None, ("a", "b", "c"), 0.1, 0.2, seed=1)
        for part in (parts.train, parts.validation, parts.test):
            assert part.labels.tolist() == pool.labels[numbers(part.images)].tolist()

    @pytest.mark.parametrize(
        ("own", "drawn_parts"), [(None, ("train", "validation", "test")), (numbered([5, 5]), ("train", "validation"))]
    )
    def test_depends_on_the_seed_alone(self, own: LabelledImages | None, drawn_parts: tuple[str, ...]) -> None:
        first, again, other = (split(numbered([50, 50]), own, ("a", "b"), 0.1, 0.2, seed) for seed in (0, 0, 1))
        for part in drawn_parts:
            drawn = [numbers(getattr(parts, part).images) for parts in (first, again, other)]
            assert drawn[0] == drawn[1]
            assert set(drawn[0]) != set(drawn[2])

    def test_needs_test_images_from_somewhere(self) -> None:
        with pytest.raises(UserError, match=r"dataset\.split\.test is null"):
            split(numbered([9, 9]), None, ("a", "b"), 0.1, None, seed=0)

    def test_knows_classes_and_shape(self) -> None:
        parts = split(numbered([9, 9]), None, ["a", "b"], 0.2, 0.2, seed=0)
        assert (parts.num_classes, parts.class_names, parts.image_shape) == (2, ("a", "b"), (1, 4, 4))


class TestBatchLoader:
    @pytest.mark.parametrize(
        ("count", "batch_size", "shuffle", "sizes"),
        [
            (10, 4, True, [4, 4]),  # the rest of 2 is dropped
            (10, 5, True, [5, 5]),
            (3, 8, True, [3]),
            (10, 4, False, [4, 4, 2]),
        ],
    )
    def test_an_epoch_meets_each_image_once(
        self, count: int, batch_size: int, shuffle: bool, sizes: list[int]
    ) -> None:
        data = numbered([count])
        loader = BatchLoader(data, batch_size, shuffle)
        batches = [numbers(images) for images, _ in loader]
        assert [len(batch) for batch in batches] == sizes
        assert len(loader) == len(sizes)
        seen = [number for batch in batches for number in batch]
        assert len(set(seen)) == sum(sizes)
        assert (seen == list(range(count))) is not shuffle

    def test_pixels_and_labels_belong_together(self) -> None:
        data = numbered([20, 20, 20])
        for images, labels in BatchLoader(data, 7, shuffle=True, seed=2):
            assert labels.tolist() == data.labels[numbers(images)].tolist()
            assert images.dtype == torch.float32
            assert images.max() <= 1

    @pytest.mark.parametrize("augmentation", [None, WILD])
    def test_depends_on_the_seed_alone(self, augmentation: Augmentation | None) -> None:
        data = numbered([64])
        first, again, other = (
            torch.cat([images for images, _ in BatchLoader(data, 16, True, seed, augmentation)]) for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("augmentation", [None, STILL, WILD], ids=["plain", "still", "augmented"])
    @pytest.mark.parametrize("world_size", [2, 3])
    def test_processes_share_the_batch_of_one(self, world_size: int, augmentation: Augmentation | None) -> None:
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (50, 1, 6, 6), dtype=torch.uint8, generator=draw)
        data = LabelledImages(images, torch.arange(50))
        whole = list(BatchLoader(data, 12, True, 7, augmentation))
        shards = [list(BatchLoader(data, 12, True, 7, augmentation, rank, world_size)) for rank in range(world_size)]
        for (images, labels), *parts in zip(whole, *shards, strict=True):
            together = torch.cat([part[1] for part in parts])
            assert len(together) == len(set(together.tolist())) == 12
            order, wanted = together.argsort(), labels.argsort()
            assert torch.equal(together[order], labels[wanted])
            assert torch.allclose(torch.cat([part[0] for part in parts])[order], images[wanted], atol=1e-6)


def affine(images: torch.Tensor, draws: list[float], **strengths: float) -> torch.Tensor:
    """`random_affine` with the draws of angle, size, slant, shift across and down given, each in [-1, 1]."""
    given = torch.tensor(draws).unsqueeze(1).expand(5, len(images))
    return random_affine(images, given, **(dict.fromkeys(vars(STILL), 0.0) | strengths))


class TestRandomAffine:
    image = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4) / 16

    def test_of_strength_zero_changes_nothing(self) -> None:
        images = torch.rand(5, 3, 7, 9, generator=torch.Generator().manual_seed(0))
        still = random_affine(images, torch.ones(5, 5), **vars(STILL))
        assert torch.allclose(still, images, atol=1e-6)

    @pytest.mark.parametrize(
        ("across", "down", "expected"),
        [
            # what lies one pixel to the right and two below comes in; black from outside
            (1, 0, [[2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0], [14, 15, 16, 0]]),
            (-1, 0, [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15]]),
            (0, 2, [[9, 10, 11, 12], [13, 14, 15, 16], [0, 0, 0, 0], [0, 0, 0, 0]]),
            (1, -2, [[0, 0, 0, 0], [0, 0, 0, 0], [2, 3, 4, 0], [6, 7, 8, 0]]),
        ],
    )
    def test_shifts_by_whole_pixels(self, across: int, down: int, expected: list[list[int]]) -> None:
        moved = affine(self.image, [0, 0, 0, across / 2, down / 2], shift=2.0)
        assert torch.allclose(moved[0, 0] * 16, torch.tensor(expected, dtype=torch.float), atol=1e-4)

    @pytest.mark.parametrize("quarters", [1, -1])
    def test_turns_by_right_angles(self, quarters: int) -> None:
        turned = affine(self.image, [quarters, 0, 0, 0, 0], rotation=90.0)
        assert torch.allclose(turned, torch.rot90(self.image, quarters, dims=(2, 3)), atol=1e-5)

    def test_scales_about_the_centre(self) -> None:
        # Grid positions are multiplied by 0.5: what stood at the quarter points moves to the half points.
        ramp = torch.linspace(-1 + 1 / 8, 1 - 1 / 8, 8).expand(1, 1, 8, 8)
        larger = affine(ramp, [0, -1, 0, 0, 0], scale=0.5)
        assert torch.allclose(larger, ramp / 2, atol=1e-6)

    def test_shears_each_row_by_its_height(self) -> None:
        # Row r of 5 lies r − 2 pixels below the centre, and a slant of 1 reads as many pixels further across.
        row = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
        sheared = affine(row.expand(1, 1, 5, 5), [0, 0, 1, 0, 0], shear=1.0)
        assert torch.allclose(sheared[0, 0], torch.eye(5).flip(0), atol=1e-5)

    def test_draws_each_image_by_itself(self) -> None:
        images = self.image.expand(6, 1, 4, 4)
        draws = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
        drawn = random_affine(images, draws, **vars(WILD))
        assert len(torch.unique(drawn, dim=0)) == 6

    def test_stays_in_the_unit_interval(self) -> None:
        """But for the rounding of bilinear weights, whose sum is 1 to seven digits, on each machine others."""
        draw = torch.Generator().manual_seed(0)
        images = torch.rand(200, 1, 9, 9, generator=draw).round()
        draws = torch.rand(5, 200, generator=draw) * 2 - 1
        drawn = random_affine(images, draws, shift=3.0, rotation=90.0, scale=0.9, shear=2.0)
        assert drawn.min() >= 0
        assert drawn.max() <= 1 + 1e-6
        assert not torch.equal(drawn, images)


class TestDigest:
    data = numbered([6, 6])

    def test_of_equal_data_is_equal(self) -> None:
        copy = LabelledImages(self.data.images.clone(), self.data.labels.clone())
        scattered = self.data.images.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)
        assert not scattered.is_contiguous()
        assert self.data.digest() == copy.digest() == replace(self.data, images=scattered).digest()
        assert len(self.data.digest()) == 64

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_does_not_depend_on_the_device(self) -> None:
        assert self.data.to(torch.device("cuda")).digest() == self.data.digest()

    def test_sees_every_change(self) -> None:
        images, labels = self.data.images, self.data.labels
        pixel, label = images.clone(), labels.clone()
        pixel[11, 0, 3, 3] += 1
        label[11] += 1
        changed = [
            LabelledImages(pixel, labels),
            LabelledImages(images, label),
            LabelledImages(images.flip(0), labels),
            LabelledImages(images.reshape(12, 1, 2, 8), labels),
            LabelledImages(images[:-1], labels[:-1]),
        ]
        assert len({self.data.digest(), *(data.digest() for data in changed)}) == 6
