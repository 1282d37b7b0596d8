"""Fonts for the names of classes in any script: matplotlib's own font has no Chinese, Japanese or Korean."""

import logging
import re
import warnings
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

NO_GLYPHS = re.compile("last ?resort", re.IGNORECASE)
"""Names of fonts that draw the same box for every character."""

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", "Glyph .* missing from font")  # `fallbacks` says so, once


def fallbacks(text: str) -> list[str]:
    """Installed font families with the characters of a text that matplotlib's own font lacks, as few as it takes.

    If no installed font has a character, a sentence about it is logged once.
    """
    printed = frozenset(ord(character) for character in text if character.isprintable())
    return _families_with(printed - _characters(findfont(FontProperties())))


@cache
def _families_with(missing: frozenset[int]) -> list[str]:
    found: list[str] = []
    files = {entry.name: entry.fname for entry in fontManager.ttflist if entry.style == "normal"}
    usable = {name: files[name] for name in sorted(files) if not NO_GLYPHS.search(name)}
    while missing and usable:
        best = max(usable, key=lambda name: len(missing & _characters(usable[name])))
        if not missing & _characters(usable[best]):
            break
        found.append(best)
        missing -= _characters(usable[best])
    if missing:
        log.warning(
            "Figures show a box for each of %s: no installed font has these characters. Install one that does, such "
            "as Noto Sans CJK, and draw again.",
            " ".join(map(chr, sorted(missing))),
        )
    return found


@cache
def _characters(path: str) -> frozenset[int]:
    """Those that a font file has."""
    return frozenset(get_font(path).get_charmap())
