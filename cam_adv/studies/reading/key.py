"""The key of a page: which picture stands at which position. Readers don't have it; they have its digest.

It holds everything that the table of the answers needs, so that nothing of it can be changed after the digest is
known without being noticed: what each picture is, its labels, what the judge read in it, and a digest of its pixels.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from cam_adv.schema.fields import Index, Integer, Kind, StrictModel

PictureKind = Literal["x_adv", "x", "start_image", "reconstruction"]
"""x', the real image x, G(start) and G(mu(x)), by the names of their tensors in `attack.safetensors`."""


class Picture(StrictModel):
    """What is shown at one position of the page.

    kind, row: its tensor in `attack.safetensors`, and the row.
    y, target, judge_reads: of that row.
    cluster: pictures with equal numbers are no independent observations.
    pixels: SHA-256 of its PNG file.
    repeat_of: the position of the same picture shown earlier; None where it is shown first.
    """

    kind: PictureKind
    row: Index
    y: Index
    target: Index
    judge_reads: Integer
    cluster: Integer
    pixels: str
    repeat_of: Index | None


class Key(StrictModel):
    """A salt, the kind of the attack, the classes to choose from, and the pictures by position.

    salt: random, and known to nobody who has no key: without it, the key could be found by trying all keys that the
        code may have made until the digest is right.
    """

    salt: str
    attack: Kind
    class_names: tuple[str, ...]
    pictures: tuple[Picture, ...]

    def to_bytes(self) -> bytes:
        """The content of the key's file."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def key_digest(key_file: bytes) -> str:
    """The SHA-256 of the key's file, 64 hexadecimal digits, as `sha256sum` prints it."""
    return sha256(key_file).hexdigest()


@dataclass(frozen=True)
class Place:
    """A position of the page before its picture is known: which of the shuffled pictures, and what it repeats."""

    picture: int
    repeat_of: int | None


def draw_rows(
    pools: Mapping[PictureKind, Sequence[int]], counts: Mapping[PictureKind, int], seed: int
) -> list[tuple[PictureKind, int]]:
    """Draw rows without replacement for each kind of picture.

    Args:
        pools: the rows to draw from.
        counts: how many at most.
    """
    rng = random.Random(seed)
    return [(kind, row) for kind, pool in pools.items() for row in rng.sample(pool, min(counts[kind], len(pool)))]


def shuffle(pictures: int, repeats: int, secret: str) -> list[Place]:
    """The order of the page: each picture once, and some of the first third again in the last third.

    So at least a third of the pictures lies between the two answers of a reader that are compared.

    Args:
        pictures: their number.
        repeats: how many are shown twice, at most a third of them.
        secret: determines the order. It contains the salt: an order that followed from the seed of the run, which is
            0 unless set, would tell everybody who knows this code which pictures are which.
    """
    rng = random.Random(secret)
    order = rng.sample(range(pictures), pictures)
    third = pictures // 3
    last = [*range(pictures - third, pictures), *rng.sample(range(third), min(repeats, third))]
    rng.shuffle(last)
    return [
        *(Place(order[position], None) for position in range(pictures - third)),
        *(Place(order[position], position if position < third else None) for position in last),
    ]
