"""The Hydra callback that notices a sweep, and the report that is written when the command exits."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cam_adv.runtime.run_dir import register_resolvers
from cam_adv.sweep.jobs import MULTIRUN_CONFIG, swept_overrides
from cam_adv.sweep.record import JOB_FILE

_started: list[Path] = []
"""Folders of the sweeps that have started and are not reported yet."""

# A launcher's worker process imports this module before it composes the config of its job.
register_resolvers()
OmegaConf.register_new_resolver("swept", swept_overrides, replace=True)


class SweepReport(Callback):
    """Records the folder and the config of a sweep when it starts; ignores single runs."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with suppress(OmegaConfBaseException):  # if the folder can't be resolved, Hydra's sweeper reports why
            folder = Path(config.hydra.sweep.dir)
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(config, folder / MULTIRUN_CONFIG)  # only Hydra's basic sweeper saves it itself
            _started.append(folder)


@contextmanager
def report_on_exit() -> Iterator[None]:
    """Write the report of a sweep that starts within this context, on exit, failures and interrupts included.

    Hydra does not call its own `on_multirun_end` after a failed job or an interrupt.
    """
    try:
        yield
    finally:
        while _started:
            folder = _started.pop()
            if any(folder.glob(f"*/{JOB_FILE}")):  # a command line that Hydra refused has no job
                from cam_adv.sweep.report import report  # imported here, since matplotlib and rich are slow to import

                report(folder)
