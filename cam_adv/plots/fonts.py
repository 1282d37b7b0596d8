"""Fonts for the names of classes in any script: matplotlib's own font has no Chinese, Japanese or Korean."""

import logging
import re
import warnings
from contextlib import suppress
from functools import cache

from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font

NO_GLYPHS = re.compile("last ?resort", re.IGNORECASE)
"""Names of fonts that draw the same box for every character."""

_told: set[int] = set()
"""Characters that no font has, and that the log has named."""

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
    if missing:
        _add_new_fonts()
    found: list[str] = []
    files = {entry.name: entry.fname for entry in fontManager.ttflist if entry.style == "normal"}
    usable = {name: files[name] for name in sorted(files) if not NO_GLYPHS.search(name)}
    while missing and usable:
        best = max(usable, key=lambda name: len(missing & _characters(usable[name])))
        if not missing & _characters(usable[best]):
            break
        found.append(best)
        missing -= _characters(usable[best])
    if new := missing - _told:
        _told.update(new)
        log.warning(
            "Figures show a box for each of %s: no installed font has these characters. Install one that does, such "
            "as Noto Sans CJK, and draw again.",
            " ".join(map(chr, sorted(new))),
        )
    return found


@cache
def _add_new_fonts() -> None:
    """Add fonts that were installed since matplotlib made its list, which it keeps between processes."""
    known = {entry.fname for entry in fontManager.ttflist}
    for file in findSystemFonts():
        if file not in known:
            with suppress(OSError, RuntimeError):  # a damaged font, or one of a kind that matplotlib can't read
                fontManager.addfont(file)


@cache
def _characters(path: str) -> frozenset[int]:
    """Those that a font file has."""
    return frozenset(get_font(path).get_charmap())
