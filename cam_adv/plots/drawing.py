"""Figures that can't end a run: a drawing that fails is told and counted, and the numbers are kept."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec

from matplotlib.figure import Figure

from cam_adv.errors import in_one_line
from cam_adv.plots.save import save_figure

Arguments = ParamSpec("Arguments")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawing:
    """The drawing of a run's figures, after the numbers that they show are written.

    A figure that can't be drawn is left out with a warning, and the others are drawn.

    folder: of the figures, made with the first one.
    wanted: False where nothing is to be drawn.
    debug: whether the traceback of what fails is shown, too.
    failed: what could not be drawn.
    """

    folder: Path
    wanted: bool = True
    debug: bool = False
    failed: list[str] = field(default_factory=list)

    def draw(
        self, name: str, figure: Callable[Arguments, Figure], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> None:
        """Make a figure and save it under a file name, if figures are wanted."""
        if self.wanted:
            with self.attempt(name):
                self.folder.mkdir(exist_ok=True)
                save_figure(figure(*args, **kwargs), self.folder / name)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """A context in which something is drawn, and which no error leaves."""
        try:
            yield
        except Exception as error:
            self.failed.append(name)
            log.warning("%s can't be drawn: %s", name, in_one_line(error), exc_info=self.debug)
