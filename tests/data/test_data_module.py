"""Splits, batches and digests, on images that are identified by their pixels."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from cam_adv.data.data_module import Augmentation, BatchLoader, ImageDataModule
from cam_adv.data.splits import LabelledImages, split, stratified_indices
from cam_adv.errors import UserError

NO_AUGMENTATION = Augmentation()
STRONG_AUGMENTATION = Augmentation(shift=2.0, rotation=30.0, scale=0.2, shear=0.1)


def numbered(counts: list[int], first: int = 0) -> LabelledImages:
    """`counts[c]` images of each class c, shuffled; image n has the number n in its first two pixels."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]
    number = torch.arange(first, first + len(labels))
    images = torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = number // 256, number % 256
    return LabelledImages(images, labels)


def numbers(images: torch.Tensor) -> list[int]:
    """The numbers of images from `numbered`, uint8 or in [0, 1]."""
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
            ([2, 100], 0.01, [1, 1]),  # at least one
            ([3, 3], 0.6, [2, 2]),  # 1.8
        ],
    )
    def test_each_class_second_part_has_its_fraction(
        self, counts: list[int], fraction: float, second: list[int]
    ) -> None:
        data = numbered(counts)
        left, right = stratified_indices(data.labels, fraction, seed=0)
        assert per_class(data.labels[right]) == second
        assert sorted([*left.tolist(), *right.tolist()]) == list(range(sum(counts)))

    def test_equal_seeds_give_equal_parts(self) -> None:
        labels = numbered([50, 50]).labels
        first, again, other = (stratified_indices(labels, 0.3, seed)[1].tolist() for seed in (4, 4, 5))
        assert first == again
        assert first != other


class TestSplit:
    @pytest.mark.parametrize(
        ("count", "with_test", "validation", "test", "remedy"),
        [
            (1, False, 0.1, 0.2, "at least 3 images"),
            (2, False, 0.1, 0.2, "at least 3 images"),
            (1, True, 0.1, None, "at least 2 images"),
            (3, False, 0.05, 0.9, "Lower dataset.split.validation or dataset.split.test"),
            (3, True, 0.9, None, "Lower dataset.split.validation"),
        ],
    )
    def test_class_without_training_images_is_named_with_its_own_count(
        self, count: int, with_test: bool, validation: float, test: float | None, remedy: str
    ) -> None:
        pool, own_test = numbered([99, count]), numbered([1, 1]) if with_test else None
        with pytest.raises(UserError) as refused:
            split(pool, own_test, ("cat", "dog"), validation, test, seed=0)
        images = "1 image" if count == 1 else f"{count} images"
        assert refused.value.what.startswith(f"Class dog has {images}, too few for a split ")
        assert "0.125" not in refused.value.what
        assert remedy in refused.value.remedy

    @pytest.mark.parametrize(("count", "test"), [(3, 0.2), (2, None)])
    def test_fewest_images_that_the_remedy_names_are_enough(self, count: int, test: float | None) -> None:
        own_test = numbered([1, 1]) if test is None else None
        parts = split(numbered([9, count]), own_test, ("cat", "dog"), 0.1, test, seed=0)
        assert per_class(parts.train.labels)[1] == per_class(parts.validation.labels)[1] == 1

    def test_no_test_images_draws_them_from_the_pool(self) -> None:
        parts = split(numbered([100, 200]), None, ("a", "b"), 0.05, 0.2, seed=3)
        shares = [per_class(part.labels) for part in (parts.train, parts.validation, parts.test)]
        assert shares == [[75, 150], [5, 10], [20, 40]]
        used = [number for part in (parts.train, parts.validation, parts.test) for number in numbers(part.images)]
        assert sorted(used) == list(range(300))

    def test_given_test_images_are_unchanged(self) -> None:
        own = numbered([5, 5], first=300)
        parts = split(numbered([100, 200]), own, ("a", "b"), 0.1, None, seed=3)
        assert numbers(parts.test.images) == list(range(300, 310))
        assert [per_class(parts.train.labels), per_class(parts.validation.labels)] == [[90, 180], [10, 20]]
        assert sorted(numbers(parts.train.images) + numbers(parts.validation.images)) == list(range(300))

    def test_images_keep_their_labels(self) -> None:
        pool = numbered([40, 60, 20])
        parts = split(pool, None, ("a", "b", "c"), 0.1, 0.2, seed=1)
        for part in (parts.train, parts.validation, parts.test):
            assert part.labels.tolist() == pool.labels[numbers(part.images)].tolist()

    @pytest.mark.parametrize(
        ("own", "drawn_parts"), [(None, ("train", "validation", "test")), (numbered([5, 5]), ("train", "validation"))]
    )
    def test_equal_seeds_give_equal_splits(self, own: LabelledImages | None, drawn_parts: tuple[str, ...]) -> None:
        first, again, other = (split(numbered([50, 50]), own, ("a", "b"), 0.1, 0.2, seed) for seed in (0, 0, 1))
        for part in drawn_parts:
            drawn = [numbers(getattr(parts, part).images) for parts in (first, again, other)]
            assert drawn[0] == drawn[1]
            assert set(drawn[0]) != set(drawn[2])

    def test_no_test_images_and_no_fraction_raises(self) -> None:
        with pytest.raises(UserError, match=r"dataset\.split\.test is null"):
            split(numbered([9, 9]), None, ("a", "b"), 0.1, None, seed=0)

    def test_returns_classes_and_image_shape(self) -> None:
        parts = split(numbered([9, 9]), None, ["a", "b"], 0.2, 0.2, seed=0)
        assert (parts.num_classes, parts.class_names, parts.image_shape) == (2, ("a", "b"), (1, 4, 4))


class TestBatchLoader:
    @pytest.mark.parametrize(
        ("count", "batch_size", "shuffle", "sizes"),
        [
            (10, 4, True, [4, 4]),  # the remaining 2 are dropped
            (10, 5, True, [5, 5]),
            (3, 8, True, [3]),
            (10, 4, False, [4, 4, 2]),
        ],
    )
    def test_epoch_has_each_image_at_most_once(
        self, count: int, batch_size: int, shuffle: bool, sizes: list[int]
    ) -> None:
        data = numbered([count])
        loader = BatchLoader(data, batch_size, shuffle)
        batches = [numbers(images) for images, _ in loader]
        assert [len(batch) for batch in batches] == sizes
        assert len(loader) == len(sizes)
        in_order = [number for batch in batches for number in batch]
        assert len(set(in_order)) == sum(sizes)
        assert (in_order == list(range(count))) is not shuffle

    def test_batches_keep_images_with_labels(self) -> None:
        data = numbered([20, 20, 20])
        for images, labels in BatchLoader(data, 7, shuffle=True, seed=2):
            assert labels.tolist() == data.labels[numbers(images)].tolist()
            assert images.dtype == torch.float32
            assert images.max() <= 1

    @pytest.mark.parametrize("augmentation", [None, STRONG_AUGMENTATION])
    def test_equal_seeds_give_equal_batches(self, augmentation: Augmentation | None) -> None:
        data = numbered([64])
        first, again, other = (
            torch.cat([images for images, _ in BatchLoader(data, 16, True, seed, augmentation)]) for seed in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize(
        "augmentation", [None, NO_AUGMENTATION, STRONG_AUGMENTATION], ids=["none", "zero", "strong"]
    )
    @pytest.mark.parametrize("world_size", [2, 3])
    def test_shards_of_all_ranks_equal_the_global_batch(
        self, world_size: int, augmentation: Augmentation | None
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (50, 1, 6, 6), dtype=torch.uint8, generator=generator)
        data = LabelledImages(images, torch.arange(50))
        global_batches = list(BatchLoader(data, 12, True, 7, augmentation))
        shards = [list(BatchLoader(data, 12, True, 7, augmentation, rank, world_size)) for rank in range(world_size)]
        for (images, labels), *parts in zip(global_batches, *shards, strict=True):
            pooled = torch.cat([part[1] for part in parts])
            assert len(pooled) == len(set(pooled.tolist())) == 12
            order, expected = pooled.argsort(), labels.argsort()
            assert torch.equal(pooled[order], labels[expected])
            assert torch.allclose(torch.cat([part[0] for part in parts])[order], images[expected], atol=1e-6)


def test_data_module_copies_each_part_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageDataModule(split(numbered([9, 9]), None, ("a", "b"), 0.2, 0.2, seed=0), 4, seed=0)
    strategy = SimpleNamespace(root_device=torch.device("meta"))
    monkeypatch.setattr(
        data, "trainer", SimpleNamespace(strategy=strategy, current_epoch=0, global_rank=0, world_size=1)
    )
    for loader in (data.train_dataloader, data.val_dataloader, data.test_dataloader):
        assert loader().data.images.is_meta
        assert loader().data is loader().data


class TestDigest:
    data = numbered([6, 6])

    def test_equal_data_gives_equal_digests(self) -> None:
        copy = LabelledImages(self.data.images.clone(), self.data.labels.clone())
        non_contiguous = self.data.images.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)
        assert not non_contiguous.is_contiguous()
        assert self.data.digest() == copy.digest() == replace(self.data, images=non_contiguous).digest()
        assert len(self.data.digest()) == 64

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_same_on_cuda_and_cpu(self) -> None:
        assert self.data.to(torch.device("cuda")).digest() == self.data.digest()

    def test_any_change_gives_another_digest(self) -> None:
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
