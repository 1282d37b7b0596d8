"""An evaluated attack as a notebook shows it: pictures, rates, and a table of pandas."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

import torch

from cam_adv.attacks.trace import evenly_spaced
from cam_adv.errors import UserError
from cam_adv.metrics import funnel
from cam_adv.metrics.evaluation import SAMPLE, AttackEvaluation
from cam_adv.metrics.intervals import Rate
from cam_adv.plots.attack_frames import predicted_frame
from cam_adv.plots.filmstrip import Frame, filmstrip_figure
from cam_adv.plots.save import figure_png
from cam_adv.reports.files import attack_rates, result_rows

if TYPE_CHECKING:
    import pandas

PAIRS_SHOWN = 5
"""As many as stay legible at the width of a notebook."""


@dataclass(frozen=True, repr=False)
class ShownAttack:
    """An evaluated attack; at the end of a notebook's cell it shows evenly spaced pairs x, x', failures included.

    name: of the attack. start_names: see `Attack.start_names`. class_names: of the dataset.
    """

    name: str
    evaluation: AttackEvaluation
    start_names: Sequence[str]
    class_names: Sequence[str]

    @property
    def rates(self) -> dict[str, Rate]:
        """See `attack_rates`."""
        return attack_rates(self.evaluation, self.start_names)

    def __repr__(self) -> str:
        success = self.rates["success"]
        return f"{self.name}: {success.rate:.1%} of {len(self.evaluation.result)} succeed"

    def to_pandas(self) -> "pandas.DataFrame":
        """The columns of `results.csv`, their numbers not rounded; `index` counts the attacked images.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            from pandas import DataFrame  # slow to import, and only needed here
        except ImportError as error:
            raise UserError(
                "to_pandas needs pandas, which isn't installed.", "Install it with pip install pandas."
            ) from error
        index = torch.arange(len(self.evaluation.result))
        return DataFrame(result_rows(self.evaluation, index, self.start_names, self.class_names))

    def _repr_png_(self) -> bytes:
        """Some pairs: the victim above, the judge below, then G(z), the residual and the CAM of y."""
        return self._png

    def _repr_html_(self) -> str:
        """The same picture, in words for those who can't see it, and the rates."""
        picture = b64encode(self._png).decode()
        lines = funnel.rows(self.evaluation.kind, self.rates, self.evaluation.from_samples)
        rows = "".join(
            f"<tr><td>{escape(text)}</td><td>{rate.rate:.1%}</td><td>{rate.low:.1%} to {rate.high:.1%}</td></tr>"
            for text, rate in lines
        )
        return (
            f'<img src="data:image/png;base64,{picture}" alt="{escape(self._description)}" '
            'style="max-width: 100%; background: white">'
            f"<table><thead><tr><th>{escape(self.name)}, of {len(self.evaluation.result)} attempted</th>"
            f"<th>rate</th><th>95% interval</th></tr></thead><tbody>{rows}</tbody></table>"
        )

    @cached_property
    def _png(self) -> bytes:
        count = len(self.evaluation.result)
        heading = f"{self.name}: {len(self._pairs)} of {count} pairs x, x'"
        frames = [frame for pair in self._pairs for frame in pair]
        return figure_png(filmstrip_figure(frames, heading, self.class_names))

    @property
    def _pairs(self) -> list[tuple[Frame, Frame]]:
        """The frames of x and of x' of the pairs that are shown."""
        one, pairs = self.evaluation, []
        result = one.result
        generated = None if result.residual_path is None else one.generated
        for row in evenly_spaced(len(result) - 1, PAIRS_SHOWN):
            y, drawn = int(result.y[row]), None if generated is None else generated[row]
            before = SAMPLE if one.from_samples else "x"
            pairs.append(
                (
                    predicted_frame(result.x[row], before, one.on_x, row, y),
                    predicted_frame(result.x_adv[row], "x'", one.on_x_adv, row, y, drawn),
                )
            )
        return pairs

    @property
    def _description(self) -> str:
        """The pairs that are shown, in words."""
        return " ".join(
            f"{frame.caption}: victim {frame.victim_text(self.class_names)}, {frame.judge_text(self.class_names)}."
            for pair in self._pairs
            for frame in pair
        )
