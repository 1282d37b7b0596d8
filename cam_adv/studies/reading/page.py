"""The page for the readers: one HTML file that works without a network and tells nothing about its pictures."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from string import ascii_lowercase, digits

from PIL import Image

from cam_adv.data.human_labels import NOTHING
from cam_adv.pages import render

CLASS_KEYS = digits + ascii_lowercase

SIDE = 392
"""About how many pixels on the screen a picture is enlarged to: by a whole number, so that its pixels stay equal."""


def write_page(pngs: Sequence[bytes], class_names: Sequence[str], digest: str, path: Path) -> None:
    """Write the page.

    Args:
        pngs: the pictures in the order in which they are shown, of one size.
        class_names: what may be answered, by class number.
        digest: of the key.
    """
    with Image.open(BytesIO(pngs[0])) as first:
        width, height = first.size
    class_keys, nothing_key = answer_keys(class_names)
    scale = max(1, round(SIDE / max(width, height)))
    data = {
        "digest": digest,
        "nothing": NOTHING,
        "pictures": [b64encode(png).decode() for png in pngs],
    }
    render.write_page(
        "reading.html",
        path,
        data=data,
        count=len(pngs),
        digest=digest,
        nothing=NOTHING,
        nothing_key=nothing_key,
        classes=list(zip(class_names, class_keys, strict=True)),
        longest=max(map(len, class_names)),
        width=width * scale,
        height=height * scale,
    )


def answer_keys(class_names: Sequence[str]) -> tuple[list[str], str]:
    """The key of each class, and that of the answer "none of these".

    A class whose name is a digit or a letter has it as its key. The others have the remaining digits, then letters,
    in their order; those for which none is left have buttons only, and an empty text here.
    """
    own: list[str] = []
    for name in class_names:
        key = name.lower()
        own.append(key if len(key) == 1 and key in CLASS_KEYS and key not in own else "")
    nothing = "-" if "n" in own else "n"
    free = iter(key for key in CLASS_KEYS if key not in own and key != nothing)
    return [key or next(free, "") for key in own], nothing
