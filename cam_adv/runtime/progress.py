"""How far a long computation has come: a bar on a terminal, elsewhere a line now and then."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

from cam_adv.runtime.standard_streams import protect_standard_streams

INTERVAL = 30.0
"""Seconds between two lines where there is no terminal: a file or a pipe would keep every state of a bar."""

DELAY = 3.0
"""Seconds after which a computation is shown that is short more often than not."""

Item = TypeVar("Item")


class Progress:
    """The progress of one computation on standard error, as a context that ends with it.

    Without a terminal these are its first and its last line, and at most one in every `INTERVAL` between them.
    """

    def __init__(
        self,
        title: str,
        total: int,
        unit: str,
        done: int = 0,
        line: int | None = None,
        shown: bool = True,
        delay: float = 0.0,
    ) -> None:
        """
        Args:
            unit: what is counted, in the plural.
            done: how many are done already.
            line: of the terminal, counted from the cursor; None: the next free one.
            shown: False in processes that are to be silent.
            delay: seconds before the first sign of it, such as `DELAY`.
        """
        protect_standard_streams()  # a Trainer may have spawned this process
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self._shown, self._printed, self._before, self._note = shown, False, done, ""
        self._started = time.monotonic()
        self._next = self._started + delay
        self._bar = None
        if shown and sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=title,
                unit=f" {unit}",
                position=line,
                delay=delay,
                dynamic_ncols=True,
            )
        elif not delay:
            self._print_line()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(complete=kind is None)

    def update(self, done: int, note: str = "") -> None:
        """Say how many are done, and what else there is to know."""
        self.done, self._note = done, note
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
        elif done < self.total and time.monotonic() >= self._next:  # the last line is that of `close`
            self._print_line()

    def advance(self, count: int = 1) -> None:
        """Say that so many more are done."""
        self.update(self.done + count)

    def close(self, complete: bool = True) -> None:
        """End the bar, or print the last line of a computation that is complete; a second call does nothing."""
        if self._bar is not None:
            self._bar.close()
        elif complete and (self._printed or time.monotonic() >= self._next):
            self._print_line()
        self._shown = False

    def _print_line(self) -> None:
        if not self._shown:
            return
        now, self._printed = time.monotonic(), True
        self._next = now + INTERVAL
        seconds, computed = now - self._started, self.done - self._before
        text = f"{self.title}: {self.done} of {self.total} {self.unit}"
        if computed:
            text += f", {tqdm.format_interval(seconds)}"
        if computed > 0 and self.done < self.total:
            text += f", about {tqdm.format_interval(seconds / computed * (self.total - self.done))} left"
        print(f"{text}; {self._note}" if self._note else text, file=sys.stderr, flush=True)


def track(items: Sequence[Item], title: str, unit: str) -> Iterator[Item]:
    """The items, with the progress of what is done with each of them, if that takes longer than `DELAY`."""
    with Progress(title, len(items), unit, delay=DELAY) as progress:
        for number, item in enumerate(items, start=1):
            yield item
            progress.update(number)
