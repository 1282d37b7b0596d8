"""Which images are attacked, and the target class of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cam_adv.errors import UserError

TargetRule = Literal["random", "next", "every"] | int


@dataclass(frozen=True)
class Selection:
    """Positions among the images that are attacked, labels y and targets y', each `(N,)` int64."""

    index: Tensor
    y: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def first(self, count: int) -> "Selection":
        """The first `count` rows, or all where there are fewer."""
        return Selection(self.index[:count], self.y[:count], self.target[:count])


def select(
    labels: Tensor,
    eligible: Tensor,
    class_names: Sequence[str],
    count: int,
    source: int | None,
    target: TargetRule,
    seed: int,
    key: str = "selection.images",
) -> Selection:
    """Draw eligible images, and a target class other than the label for each.

    Args:
        labels: of all test images, `(T,)` in [0, K).
        eligible: `(T,)` bool, the images that the victim classifies correctly.
        class_names: of the K classes.
        count: how many to draw, without replacement; "every" distributes them over all K(K − 1) ordered pairs.
        source: the class to draw from, or None for all.
        target: "random": uniform over the other classes; "next": y + 1 mod K; "every": each ordered pair
            (y, y') equally often; a class: that one, for images of the other classes.
        seed: of the explicit generator.
        key: the config key of `count`, for error messages.

    Raises:
        UserError: there are fewer than `count` eligible images.
    """
    generator = torch.Generator().manual_seed(seed)
    candidates = eligible.clone()
    if source is not None:
        candidates &= labels == source
    if isinstance(target, int):
        candidates &= labels != target
    pool = candidates.nonzero().squeeze(1)
    pool = pool[torch.randperm(len(pool), generator=generator)]
    if target == "every":
        return _every_pair(labels, pool, class_names, count, key)
    if not len(pool):
        raise _none_left("" if source is None else f" of class {class_names[source]}")
    if len(pool) < count:
        raise UserError(
            f"{key}={count}, but only {len(pool)} images"
            f"{'' if source is None else f' of class {class_names[source]}'} can be attacked.",
            f"Set {key} to {len(pool)} or less.",
        )
    index = pool[:count].sort().values
    y = labels[index]
    if isinstance(target, int):
        return Selection(index, y, torch.full_like(y, target))
    offset = torch.ones_like(y)
    if target == "random":
        offset = torch.randint(1, len(class_names), (count,), generator=generator)
    return Selection(index, y, (y + offset) % len(class_names))


def draw_pairs(num_classes: int, count: int, target: TargetRule, seed: int) -> Selection:
    """Draw classes y and y' for pictures that are yet to be made; row i is for picture i.

    Args:
        num_classes: K.
        count: number of pictures.
        target: "random": both uniform; "next": y uniform, y' = y + 1 mod K; "every": each ordered pair (y, y')
            equally often; a class: y' is that one, y uniform over the others.
        seed: of the explicit generator.
    """
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(count)
    if target == "every":
        pair = index % (num_classes * (num_classes - 1))
        y, offset = pair // (num_classes - 1), 1 + pair % (num_classes - 1)
    else:
        y = torch.randint(num_classes, (count,), generator=generator)
        offset = torch.randint(1, num_classes, (count,), generator=generator)
    if isinstance(target, int):
        return Selection(index, (target + offset) % num_classes, torch.full_like(y, target))
    return Selection(index, y, (y + (1 if target == "next" else offset)) % num_classes)


def sample_per_class(
    labels: Tensor, eligible: Tensor, class_names: Sequence[str], count: int, seed: int
) -> Selection:
    """Draw the same number of images of each class, each with a target drawn from the other classes.

    Args:
        labels: of all test images, `(T,)` in [0, K).
        eligible: `(T,)` bool, the images that may be drawn.
        class_names: of the K classes.
        count: of images of each class, without replacement.
        seed: of the explicit generator.

    Returns:
        `count`·K rows in the order of the test images.

    Raises:
        UserError: a class has fewer than `count` eligible images.
    """
    generator = torch.Generator().manual_seed(seed)
    num_classes = len(class_names)
    pools = [(eligible & (labels == label)).nonzero().squeeze(1) for label in range(num_classes)]
    fewest = min(range(num_classes), key=lambda label: len(pools[label]))
    if not len(pools[fewest]):
        raise _none_left(f" of class {class_names[fewest]}", "Add test images of it, or use a better victim.")
    if len(pools[fewest]) < count:
        raise UserError(
            f"study.images={count} of each class, but only {len(pools[fewest])} test images of class "
            f"{class_names[fewest]} can be attacked.",
            f"Set study.images to {len(pools[fewest])} or less.",
        )
    drawn = [pool[torch.randperm(len(pool), generator=generator)[:count]] for pool in pools]
    index = torch.cat(drawn).sort().values
    offset = torch.randint(1, num_classes, (len(index),), generator=generator)
    return Selection(index, labels[index], (labels[index] + offset) % num_classes)


def first_per_pair(
    labels: Tensor, eligible: Tensor, class_names: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> Selection:
    """For each pair (source, target), the first eligible image of the source class.

    Raises:
        UserError: a source class has no eligible image.
    """
    index = []
    for source, _ in pairs:
        members = (eligible & (labels == source)).nonzero().squeeze(1)
        if not len(members):
            raise UserError(
                f"No test image of class {class_names[source]} can be attacked, so there is no example of it.",
                "Leave that class out of dataset.example_pairs, or use a better victim.",
            )
        index.append(int(members[0]))
    selected = torch.tensor(index, dtype=torch.long)
    return Selection(selected, labels[selected], torch.tensor([target for _, target in pairs], dtype=torch.long))


def _every_pair(labels: Tensor, pool: Tensor, class_names: Sequence[str], count: int, key: str) -> Selection:
    """Assign the images of each class, in the pool's order, to the other classes in equal shares."""
    num_classes = len(class_names)
    available = labels[pool].bincount(minlength=num_classes)
    needed = _shares(count, num_classes).sum(dim=1)
    if (available < needed).any():
        source = int((needed - available).argmax())
        fitting = (less for less in range(count - 1, 0, -1) if (available >= _shares(less, num_classes).sum(1)).all())
        if not (largest := next(fitting, 0)):
            raise _none_left(f" of class {class_names[source]}")
        raise UserError(
            f"{key}={count} over all {num_classes * (num_classes - 1)} ordered pairs needs {needed[source]} images "
            f"of class {class_names[source]}, but only {available[source]} images of it can be attacked.",
            f"Set {key} to {largest} or less.",
        )
    index, target = [], []
    for source, shares in enumerate(_shares(count, num_classes)):
        index.append(pool[labels[pool] == source][: int(shares.sum())])
        offsets = torch.arange(1, num_classes).repeat_interleave(shares)
        target.append((source + offsets) % num_classes)
    selected, order = torch.cat(index).sort()
    return Selection(selected, labels[selected], torch.cat(target)[order])


def _shares(count: int, num_classes: int) -> Tensor:
    """How many of `count` images go from each class to each of the others, `(K, K − 1)`."""
    pairs = num_classes * (num_classes - 1)
    per_pair = torch.full((pairs,), count // pairs)
    per_pair[: count % pairs] += 1
    return per_pair.reshape(num_classes, -1)


def _none_left(
    of_class: str, remedy: str = "Choose another selection.source or selection.target, or use a better victim."
) -> UserError:
    """What to say where no image can be attacked."""
    return UserError(
        f"No image{of_class} can be attacked: there is none, or the victim classifies none correctly.", remedy
    )
