"""The Hydra callback that claims the folder of a run or a sweep, and what is done with it when the command exits."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cam_adv.errors import UserError
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.runtime.claimed_folder import claim_entry, claim_folder, first_missing, numbered, remove_empty
from cam_adv.runtime.quoting import quoted
from cam_adv.runtime.run_dir import (
    CONFIG,
    MULTIRUN_CONFIG,
    acquire_lock,
    belongs_to_another_run,
    check_resume_target,
    register_resolvers,
    release_lock,
)
from cam_adv.sweep import launchers
from cam_adv.sweep.jobs import swept_overrides
from cam_adv.sweep.record import TRACEBACK_FILE
from cam_adv.sweep.registry import PLAN, REGISTRY, has_begun, recorded_jobs, write_plan

LOCK_TIMEOUT = 5.0
"""Seconds to wait for the jobs of a sweep that has been killed, which end when they notice it."""


class Refusal(BaseException):
    """A `UserError` that ends the command where Hydra or a sweeper would go on after an `Exception`."""

    def __init__(self, error: UserError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class _Claim:
    """A folder of this command: of a run, or of a sweep that it has locked.

    created: the outermost folder that did not exist before; None if all did.
    lock: of a sweep. resumed: whether the sweep is. fails: whether a failed job of it makes the command fail.
    """

    folder: Path
    created: Path | None
    lock: FileLock | None = None
    resumed: bool = False
    fails: bool = False


_claims: list[_Claim] = []
"""The folders that this command has claimed and not left yet."""

# A launcher's worker process imports this module before it composes the config of its job.
register_resolvers()
OmegaConf.register_new_resolver("swept", swept_overrides, replace=True)


class OutputFolder(Callback):
    """Claims the folder of a run or of a sweep before anything is written; resumed ones keep theirs.

    A run whose folder the config composes, of the date for instance, and every sweep get the next free name where
    theirs is taken. A run whose folder is named as it is, is refused then.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        self._claim(config, _claim_run)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self._claim(config, _claim_sweep)

    def _claim(self, config: DictConfig, claim: Callable[[DictConfig], None]) -> None:
        try:
            _check_output_subdir(config.hydra.output_subdir)
            with suppress(OmegaConfBaseException, OSError):  # Hydra meets the same error and raises it
                claim(config)
        except UserError as error:
            raise Refusal(error) from error


def _check_output_subdir(subdir: str | None) -> None:
    if subdir is not None and os.path.normpath(subdir) == ".":
        raise UserError(
            f"hydra.output_subdir={subdir} would replace the {CONFIG} of the run by one of Hydra.",
            "Use null, or the name of a folder inside the run's, such as .hydra.",
        )


def _claim_run(config: DictConfig) -> None:
    """Claim the folder of a run.

    Raises:
        UserError: it is named in the config, and has a run or a sweep.
    """
    composed = OmegaConf.is_interpolation(config.hydra.run, "dir")
    named = folder = Path(config.hydra.run.dir).absolute()
    check_resume_target(config.resume, named)
    created = first_missing(named)
    if config.resume is None and composed:
        outer = first_missing(named.parent)
        folder = claim_folder(named)
        created = outer or folder
    elif config.resume is None and _is_taken(named):
        raise belongs_to_another_run(named)
    _claims.append(_Claim(folder, created))
    config.hydra.run.dir = str(folder)


def _claim_sweep(config: DictConfig) -> None:
    """Claim and lock the folder of a sweep, and record its config and its jobs there.

    Raises:
        UserError: a sweep is resumed that another process is at work on; the sweeper can't do what its config says.
    """
    launchers.check_search(config.hydra.sweeper)
    if config.hydra.launcher._target_ == launchers.SUBMITIT_LOCAL:
        launchers.keep_interrupts_from_controllers()
    named = folder = Path(config.hydra.sweep.dir).absolute()
    check_resume_target(config.resume, named)
    created = None
    if config.resume is None:
        created = first_missing(named)
        folder = next(path for path in numbered(named) if not _is_taken(path) and claim_entry(path, REGISTRY))
    if folder != named:
        created = folder
        print(f"{named} is taken: this sweep is in {folder}.")
    fails = not launchers.is_search(config.hydra.sweeper)
    _claims.append(_Claim(folder, created, acquire_lock(folder, LOCK_TIMEOUT), config.resume is not None, fails))
    config.hydra.sweep.dir = str(folder)
    config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")  # every launcher gives it to jobs
    write_atomically(folder / MULTIRUN_CONFIG, OmegaConf.to_yaml(config))  # only Hydra's basic sweeper saves it, too
    if fails:
        with suppress(HydraException):  # the sweeper meets it, too
            write_plan(folder, _planned(config))


def _is_taken(folder: Path) -> bool:
    """Whether a folder has a run or a sweep."""
    return (folder / CONFIG).exists() or (folder / MULTIRUN_CONFIG).exists()


def _planned(config: DictConfig) -> list[list[str]]:
    """The overrides of all jobs of Hydra's basic sweeper."""
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*params, *config.hydra.overrides.task])
    (jobs,) = BasicSweeper.split_arguments(overrides, None)
    return jobs


@contextmanager
def report_on_exit() -> Iterator[None]:
    """Leave the folders that are claimed within this context.

    On exit, failures and interrupts included, the report of a sweep is written, and the folders of refused commands,
    in which nothing is, are removed.

    Hydra does not call its own `on_multirun_end` after a failed job or an interrupt.

    Raises:
        UserError: the first error that the user can correct, of a sweep's job.
        SystemExit: another error of a job; its traceback has been printed.
    """
    claims = []
    try:
        yield
    finally:
        refused = isinstance(sys.exception(), Exception | Refusal)
        while _claims:
            claims.append(_claims.pop())
            _leave(claims[-1], refused)
    for claim in claims:
        if claim.fails:
            _raise_first_failure(claim.folder)


def _leave(claim: _Claim, refused: bool) -> None:
    folder = claim.folder
    if claim.lock is not None:
        release_lock(claim.lock)  # jobs that are still at work end
        if refused and not claim.resumed and not has_begun(folder):
            for path in (folder / REGISTRY / PLAN, folder / MULTIRUN_CONFIG):
                path.unlink(missing_ok=True)
            remove_empty(folder / REGISTRY, folder / REGISTRY)
        elif next(recorded_jobs(folder), None) is not None:  # a search has no plan, and may have begun no job
            from cam_adv.sweep.report import report  # imported here, since matplotlib and rich are slow to import

            report(folder)
    if claim.created is not None:
        remove_empty(folder, claim.created)


def _raise_first_failure(sweep: Path) -> None:
    for record, folder in sorted(recorded_jobs(sweep), key=lambda job: job[0].number):
        if record.status == "failed":
            if record.remedy is not None:
                raise UserError(record.reason or "", record.remedy)
            assert folder is not None
            print((folder / TRACEBACK_FILE).read_text(encoding="utf-8"), file=sys.stderr)
            sys.exit(1)
