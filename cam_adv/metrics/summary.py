"""What came out of an attack, as tables and TensorBoard compare runs by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cam_adv.metrics.funnel import QUESTIONS
from cam_adv.metrics.intervals import Rate


@dataclass(frozen=True)
class AttackSummary:
    """What an attack's `summary.json` says. kind: "type1" or "type2"."""

    kind: str
    rates: Mapping[str, Rate]
    images: int
    seconds: float

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> "AttackSummary":
        """From the content of the file.

        Raises:
            KeyError, TypeError: it isn't an attack's summary.
        """
        rates = {question: Rate(**summary[question]) for question in QUESTIONS}
        kind = summary.get("kind", "type1")  # the only one, before summaries named it
        return cls(kind, rates, summary["images"], summary["seconds"])

    @property
    def successes_per_second(self) -> float | None:
        return self.rates["success"].rate * self.images / self.seconds if self.seconds > 0 else None
