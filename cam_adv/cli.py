"""The command `cam-adv`: compose the config, check it, run the study."""

import os
import sys
import traceback
from contextlib import chdir, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cam_adv.config.cached_repository import cache_config_repository
from cam_adv.config.command_errors import explain_config_error, explain_override_error
from cam_adv.config.folded_help import fold_config_groups
from cam_adv.config.repeated_run import with_repeated_run
from cam_adv.config.user_configs import add_user_configs, check_config_folders
from cam_adv.errors import UserError
from cam_adv.runtime.claimed_folder import remove_empty
from cam_adv.runtime.run_dir import CONFIG, check_resumable, is_finished, lock
from cam_adv.runtime.shutdown import describe_os_error, end_at_once_on_interrupt, graceful_shutdown
from cam_adv.runtime.standard_streams import protect_standard_streams
from cam_adv.sweep import launchers
from cam_adv.sweep.callback import Refusal, report_on_exit
from cam_adv.sweep.record import JobRecord
from cam_adv.sweep.registry import register

if TYPE_CHECKING:
    from cam_adv.runtime.distributed import ProcessGroup


@hydra.main(config_path="pkg://cam_adv.conf", config_name="config", version_base="1.3")
def _task(config: DictConfig) -> float | None:
    protect_standard_streams()  # a launcher may have started this process
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    with chdir(job.runtime.cwd):  # relative paths mean the same with hydra.job.chdir=true
        if job.mode == RunMode.MULTIRUN:
            return _job(config, folder)
        try:
            with lock(folder):
                record = JobRecord.of_folder(folder)  # of a sweep's job that is resumed by itself
                if _is_done(config, folder, record):
                    return record.objective if record else None
                study = partial(_study, config, folder)
                return record.track(folder, study) if record else study()
        except UserError as error:
            _refuse(error, error.what, error.remedy)


def _job(config: DictConfig, folder: Path) -> float | None:
    """Run a job of a sweep, and record how it ends.

    Of Hydra's basic sweeper errors are not raised, since it would not start the next batch of jobs: the command fails
    when the sweep has been reported.
    """
    job = HydraConfig.get()
    sweep, record, begun = Path(job.sweep.dir), JobRecord.of(job.job.num, job.overrides.task), False
    with launchers.ends_with_command(sweep) if job.launcher._target_ in launchers.LOCAL_LAUNCHERS else nullcontext():
        before = JobRecord.of_folder(folder)
        register(sweep, record, folder)
        try:
            with lock(folder):
                if _is_done(config, folder, before):
                    return before.objective if before else None
                begun = True
                return record.track(folder, partial(_study, config, folder))
        except Exception as error:
            if config.debug:
                traceback.print_exception(error)
            if not begun:
                if not isinstance(error, UserError) or (before and before.number == record.number):
                    raise  # an error of the sweep, not of this job, whose results stay as they are
                register(sweep, record.failed(error), folder)
                remove_empty(folder, folder)
            if not launchers.is_search(job.sweeper):
                return None
            if isinstance(error, launchers.NoObjective) and job.launcher._target_ == launchers.BASIC_LAUNCHER:
                raise Refusal(error) from error  # no other trial will have one
            raise


def _is_done(config: DictConfig, folder: Path, record: JobRecord | None) -> bool:
    """Whether the run in a folder is finished; a new one is not.

    Raises:
        UserError: the folder has another run, or none that could be resumed.
    """
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if not (folder / CONFIG).exists() and (in_sweep or not config.resume):
        return False
    check_resumable(folder, OmegaConf.to_yaml(config, resolve=True))
    done = record.status == "finished" if record else is_finished(folder)
    if done:
        print(f"Nothing is left to do: {folder} is finished.")
    return done


def _study(config: DictConfig, folder: Path) -> float | None:
    # Imported late, since completing a command line, printing help and refusing a misspelt key need no torch.
    from cam_adv.api import run_study
    from cam_adv.config.compose import settings_from

    job = HydraConfig.get()
    overrides = list(job.overrides.task)
    settings = settings_from(config, overrides)
    if settings.retrain and job.mode == RunMode.MULTIRUN:
        raise UserError(
            "retrain=true in a sweep would train every model anew in each job.",
            "Run cam-adv retrain=true once, then the sweep without it.",
        )
    searches = job.mode == RunMode.MULTIRUN and launchers.is_search(job.sweeper)
    if searches and type(settings.study).run.__annotations__.get("return", float) in (None, "None"):
        raise launchers.NoObjective(settings.study.name)
    objective = run_study(settings, folder, OmegaConf.to_yaml(config, resolve=True), overrides)
    if searches and objective is None:
        raise launchers.NoObjective(settings.study.name)
    return objective


def main() -> None:
    """Run Hydra's command line; an error that the user can correct ends with two sentences and exit code 2."""
    protect_standard_streams()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises to here instead of printing and exiting
    os.environ["MPLBACKEND"] = "agg"  # figures are files; a backend for windows or notebooks may be missing here
    try:
        with graceful_shutdown():
            _run()
    finally:
        end_at_once_on_interrupt()


def _run() -> None:
    group = None
    try:
        sys.path.append(str(_working_directory()))  # the user's own classes may be there
        add_user_configs()
        launchers.override_optuna_config()
        if {"-sc", "--shell-completion", "-h", "--help"} & set(sys.argv):
            cache_config_repository()
            fold_config_groups()
        group = _join_group()
        if group is not None and group.rank > 0:
            group.worker_loop()
            return
        check_config_folders(sys.argv[1:])
        sys.argv[1:] = with_repeated_run(sys.argv[1:])
        with report_on_exit():
            _task()
    except UserError as error:
        _refuse(error, error.what, error.remedy)
    except Refusal as refusal:
        _refuse(refusal.error, refusal.error.what, refusal.error.remedy)
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(error, *explain_config_error(error, sys.argv[1:]))
    except Exception as error:
        words = launchers.explain_error(error) or describe_os_error(error) or explain_override_error(error)
        if words is None:
            raise
        _refuse(error, *words)
    finally:
        if group is not None:
            group.shutdown()


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise UserError("The working directory does not exist any more.", "Change to another one first.") from error


def _join_group() -> "ProcessGroup | None":
    """The processes that torchrun or srun started, if any: rank 0 runs the command, the others work for it."""
    if not any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS")):
        return None  # without importing torch
    from cam_adv.runtime.distributed import join

    return join()


def _refuse(error: BaseException, what: str, remedy: str) -> NoReturn:
    if any(argument.lstrip("+").lower() == "debug=true" for argument in sys.argv):
        traceback.print_exception(error)
    print(f"cam-adv: {what}\n         {remedy}", file=sys.stderr)
    sys.exit(2)
