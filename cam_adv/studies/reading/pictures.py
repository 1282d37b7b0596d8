"""The pictures of a page: which rows of the run, in which order, and their PNG files."""

from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from cam_adv.errors import UserError
from cam_adv.studies.reading.attacked_run import AttackedRun
from cam_adv.studies.reading.key import Key, Picture, PictureKind, draw_rows, shuffle


def make_key(run: AttackedRun, counts: Mapping[PictureKind, int], repeats: int, seed: int, salt: str) -> Key:
    """Draw the pictures of a page and their order.

    x' are drawn from all rows of the run, successes and failures; the other kinds are drawn from different pictures
    only, since many rows have the same start.

    Args:
        counts: how many of each kind at most.
        repeats: how many are shown twice, at most a third of all.
        seed: determines the pictures. salt: determines their order, together with the seed.
    """
    pools = {
        kind: list(range(len(run.y))) if kind == "x_adv" else _different(images)
        for kind, images in run.images.items()
    }
    drawn = draw_rows(pools, counts, seed)
    pictures = []
    for place in shuffle(len(drawn), repeats, f"{salt} {seed}"):
        kind, row = drawn[place.picture]
        pictures.append(
            Picture(
                kind=kind,
                row=row,
                y=int(run.y[row]),
                target=int(run.target[row]),
                judge_reads=int(run.judge_reads[row]),
                cluster=int(run.cluster[row]) if kind == "x_adv" else row,
                pixels=sha256(png(run.images[kind][row])).hexdigest(),
                repeat_of=place.repeat_of,
            )
        )
    return Key(salt=salt, attack=run.attack, class_names=run.class_names, pictures=tuple(pictures))


def png(image: Tensor) -> bytes:
    """An image `(C, H, W)` in [0, 1] as a PNG file, uncompressed.

    All images of a shape have files of one size, whatever they show: compressed, a generated image is larger than a
    real one, whose background is a single colour.
    """
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    array = (pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)).contiguous().numpy()
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG", compress_level=0)
    return file.getvalue()


def pngs(key: Key, run: AttackedRun) -> list[bytes]:
    """The PNG files of all positions of a page.

    Raises:
        UserError: the run has other pictures than when the key was made.
    """
    files = []
    for picture in key.pictures:
        images = run.images.get(picture.kind)
        file = b"" if images is None or picture.row >= len(images) else png(images[picture.row])
        if sha256(file).hexdigest() != picture.pixels:
            raise UserError(
                "The pictures of this run have changed since its key was made.",
                "Put its attack.safetensors back, or remove its folder reading and reading_key.json to begin anew.",
            )
        files.append(file)
    return files


def _different(images: Tensor) -> list[int]:
    """The first row of each different picture."""
    first: dict[bytes, int] = {}
    for row, image in enumerate(images):
        first.setdefault(png(image), row)
    return list(first.values())
