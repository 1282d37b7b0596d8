"""Hydra's launchers and sweepers from other packages: their configs, and their errors as messages for users."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf

from cam_adv.errors import UserError
from cam_adv.runtime.run_dir import acquire_lock

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
SUBMITIT_LOCAL = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
LOCAL_LAUNCHERS = ("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", SUBMITIT_LOCAL)
"""Launchers whose jobs are processes on the machine of the command."""

POLL_INTERVAL = 0.2
"""Seconds between two looks whether the command of a job is still there."""


def override_optuna_config() -> None:
    """Let `conf/hydra/sweeper/optuna.yaml` replace the plugin's config of the same name.

    Otherwise Hydra would take the plugin's config as the schema of ours, and refuse it for its defaults list.
    """
    Plugins.instance()  # makes all plugins store their configs
    ConfigStore.instance().repo["hydra"].get("sweeper", {}).pop("optuna.yaml", None)


def check_search(sweeper: DictConfig) -> None:
    """Refuse what a search with Optuna can't do, before anything is written.

    Raises:
        UserError: a database that the installed packages can't use; several objectives.
    """
    if not sweeper._target_.endswith(".OptunaSweeper"):
        return
    if sweeper.storage is not None and int(metadata.version("sqlalchemy").split(".")[0]) > 1:
        raise UserError(
            f"hydra.sweeper.storage={sweeper.storage} needs an SQLAlchemy before 2, but "
            f"{metadata.version('sqlalchemy')} is installed.",
            "Leave it out, or install them with pip install 'sqlalchemy<2' 'alembic<1.17'.",
        )
    if OmegaConf.is_list(sweeper.direction):
        raise UserError(
            f"hydra.sweeper.direction={list(sweeper.direction)} is for several objectives, but a study has one.",
            "Use maximize or minimize.",
        )


def is_search(sweeper: DictConfig) -> bool:
    """Whether a sweeper chooses values by the objectives of earlier jobs, unlike Hydra's basic one."""
    return sweeper._target_ != BASIC_SWEEPER


def keep_interrupts_from_controllers() -> None:
    """Let the processes that submitit starts on this machine ignore Ctrl-C, which a terminal sends to all.

    They would print tracebacks; they end with the command (`ends_with_command`).
    """
    from submitit.local import local  # imported by its launcher only

    start = local.start_controller

    def start_ignoring(*arguments: Any, **options: Any) -> Any:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a new process takes it over
        try:
            return start(*arguments, **options)
        finally:
            signal.signal(signal.SIGINT, handler)

    setattr(local, start.__name__, start_ignoring)  # submitit has no public interface for this


class NoObjective(UserError):
    """A search over the settings of a study that returns nothing to maximise."""

    def __init__(self, study: str) -> None:
        super().__init__(
            f"study={study} gives no objective, which a search needs.",
            "Use a study that gives one, such as study=attack, or list all values without hydra/sweeper.",
        )
        self.study = study

    def __reduce__(self) -> Any:
        return type(self), (self.study,)


@contextmanager
def ends_with_command(sweep: Path) -> Iterator[None]:
    """End this process, in which a launcher runs a job, when the command of the sweep has ended, even if killed.

    The command holds the lock of the sweep's folder as long as it lives. Else jobs of a sweep that was told to end
    would go on, and be in the way of those of the resumed sweep.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_INTERVAL):
            try:
                acquire_lock(sweep)
            except UserError:
                continue
            os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def explain_error(error: Exception) -> tuple[str, str] | None:
    """The problem and its remedy for an error of a launcher or a sweeper; None for any other error."""
    text = " ".join(str(error).split())
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name, since submitit may not be installed
    if isinstance(error, BrokenExecutor):  # joblib's
        return (
            "A worker of the sweep was killed, often because memory ran out, and the sweep stopped.",
            "Lower hydra.launcher.n_jobs, and start the sweep again with resume=latest.",
        )
    if "UncompletedJobError" in kinds and isinstance(error.__cause__, CalledProcessError):
        return f"SLURM refused the sweep's jobs: {text}.", "Correct what it names with hydra.launcher.KEY=VALUE."
    if "UncompletedJobError" in kinds:
        return (
            f"A job of the sweep ended without a result: {text[:200]}.",
            "Its log is in the sweep's folder under .submitit; a job's time limit is hydra.launcher.timeout_min.",
        )
    if 'Could not detect "srun"' in text:
        return "This machine has no SLURM.", "Use hydra/launcher=submitit_local, or start the sweep on the cluster."
    if text.startswith("No trials are completed"):
        return "No trial of the search finished.", "Correct the reason in the table above, and start it again."
    return None
