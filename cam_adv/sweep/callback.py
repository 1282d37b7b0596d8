"""Where Hydra tells of a sweep: each job leaves its record, and the sweep's end its report."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from cam_adv.errors import UserError
from cam_adv.sweep.record import NAME, Record
from cam_adv.writing import write_whole

_started: list[Path] = []
"""Folders of the sweeps that were started and not yet reported."""


class JobRecords(Callback):
    """Keeps a record in the folder of each job of a sweep; single runs are left alone."""

    def __init__(self) -> None:
        self._folder: Path | None = None  # of the job that runs, where its record is this sweep's to write
        self._record: Record | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        _started.append(Path(config.hydra.sweep.dir))

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.runtime.output_dir)
        self._folder = None
        if config.hydra.mode != RunMode.MULTIRUN or (folder / "config.yaml").exists():
            return  # whose folder holds a config already belongs to another run, and this one will be refused
        self._folder = folder
        self._record = Record(config.hydra.job.num, tuple(config.hydra.overrides.task))
        self._record.write(folder)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if self._folder is None or self._record is None:
            return
        if job_return.status == JobStatus.COMPLETED:
            replace(self._record, status="finished").write(self._folder)
            return
        error = job_return._return_value  # the public property raises it
        replace(self._record, status="failed", reason=_in_one_line(error)).write(self._folder)
        if not isinstance(error, UserError):
            # Hydra shows the traceback of the first failure only.
            write_whole(self._folder / "traceback.txt", "".join(traceback.format_exception(error)))


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


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}".removesuffix(": ")
