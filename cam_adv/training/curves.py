"""The curves of a training in TensorBoard: each loss and metric against the epochs."""

from collections.abc import Mapping

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

TEST = "test/"
"""Prefix of the metrics on test images, which are single values."""


class EpochLogger(TensorBoardLogger):
    """TensorBoard's events of a training.

    Lightning would draw against training steps, with the epoch as a curve of its own, and a chart of one dot for each
    metric on test images: these become a table of text.
    """

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """See the base class."""
        test = {name.removeprefix(TEST): value for name, value in metrics.items() if name.startswith(TEST)}
        curves = {name: value for name, value in metrics.items() if name != "epoch" and not name.startswith(TEST)}
        if test:
            rows = "".join(f"| {name} | {value:.4g} |\n" for name, value in test.items())
            self.experiment.add_text("on test images", f"| metric | value |\n|---|---|\n{rows}")
        super().log_metrics(curves, int(metrics["epoch"]) + 1)
