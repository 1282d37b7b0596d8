"""Hydra's list of config groups in `--help`, folded for a terminal."""

from collections.abc import Callable
from textwrap import fill

from hydra._internal.hydra import Hydra

COLUMNS = 80


def fold_config_groups() -> None:
    """Let Hydra's help break the list of a group's choices between words, not wherever the terminal's line ends."""
    unfolded = Hydra.format_config_groups

    def folded(self: Hydra, predicate: Callable[[str], bool], compact: bool = True) -> str:
        return "\n".join(
            fill(line, COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
            for line in unfolded(self, predicate, compact).splitlines()
        )

    setattr(Hydra, unfolded.__name__, folded)  # Hydra has no public interface for this
