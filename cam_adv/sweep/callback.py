"""Where Hydra tells of a sweep: at its end, however it comes, stands its report."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cam_adv.run_folder import register_resolvers
from cam_adv.sweep.jobs import PLAN, swept_overrides
from cam_adv.sweep.record import NAME

_started: list[Path] = []
"""Folders of the sweeps that were started and not yet reported."""

# A launcher's worker process imports this module before it composes its job's config.
register_resolvers()
OmegaConf.register_new_resolver("swept", swept_overrides, replace=True)


class SweepReport(Callback):
    """Notices that a sweep starts, and what it sweeps; single runs are left alone."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with suppress(OmegaConfBaseException):  # where there is no folder, Hydra's sweeper says why
            folder = Path(config.hydra.sweep.dir)
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(config, folder / PLAN)  # Hydra's own sweeper does the same, those of others don't
            _started.append(folder)


@contextmanager
def reported_sweep() -> Iterator[None]:
    """Report a sweep that is started inside, however it ends.

    Hydra's own `on_multirun_end` isn't called after a failed job, nor where a person interrupts the sweep.
    """
    try:
        yield
    finally:
        while _started:
            folder = _started.pop()
            if any(folder.glob(f"*/{NAME}")):  # a command line that Hydra refused has no job
                from cam_adv.sweep.report import report  # late: pictures and tables take their time to import

                report(folder)
