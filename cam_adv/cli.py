"""The command `cam-adv`: compose the config, check it, run the study."""

import os
import sys
import traceback
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
from cam_adv.config.overrides import parse_overrides
from cam_adv.config.user_configs import add_user_configs
from cam_adv.errors import UserError
from cam_adv.runtime.run_dir import CONFIG, check_resumable, check_resume_target, is_finished, lock
from cam_adv.runtime.shutdown import describe_os_error, graceful_shutdown
from cam_adv.runtime.standard_streams import protect_standard_streams
from cam_adv.sweep import launchers
from cam_adv.sweep.callback import report_on_exit
from cam_adv.sweep.record import JOB_FILE, JobRecord

if TYPE_CHECKING:
    from cam_adv.runtime.distributed import ProcessGroup


@hydra.main(config_path="pkg://cam_adv.conf", config_name="config", version_base="1.3")
def _task(config: DictConfig) -> float | None:
    protect_standard_streams()  # a launcher may have started this process
    job = HydraConfig.get()
    in_sweep, folder = job.mode == RunMode.MULTIRUN, Path(job.runtime.output_dir)
    try:
        check_resume_target(config.resume, Path(job.sweep.dir) if in_sweep else folder)
        with lock(folder):
            before = JobRecord.read(folder) if (folder / JOB_FILE).exists() else None
            if (folder / CONFIG).exists() or (config.resume and not in_sweep):
                check_resumable(folder, OmegaConf.to_yaml(config, resolve=True))
                if before.status == "finished" if before else is_finished(folder):
                    print(f"Nothing is left to do: {folder} is finished.")
                    return before.objective if before else None
            study = partial(_study, config, folder, in_sweep)
            record = JobRecord.of(job.job.num, job.overrides.task) if in_sweep else before
            return record.track(folder, study) if record else study()
    except UserError as error:
        if in_sweep:
            raise  # the sweep's other jobs go on, and its report gives the reason
        _refuse(error, error.what, error.remedy)


def _study(config: DictConfig, folder: Path, in_sweep: bool) -> float | None:
    # Imported late, since completing a command line, printing help and refusing a misspelt key need no torch.
    from cam_adv.api import run_study
    from cam_adv.config.compose import settings_from

    overrides = HydraConfig.get().overrides.task
    settings = settings_from(config, overrides)
    if settings.retrain and in_sweep:
        raise UserError(
            "retrain=true in a sweep would train every model anew in each job.",
            "Run cam-adv retrain=true once, then the sweep without it.",
        )
    return run_study(settings, folder, OmegaConf.to_yaml(config, resolve=True), parse_overrides(overrides))


def main() -> None:
    """Run Hydra's command line; an error that the user can correct ends with two sentences and exit code 2."""
    protect_standard_streams()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises to here instead of printing and exiting
    sys.path.append(str(Path.cwd()))  # the user's own classes may be in the folder where the command is started
    add_user_configs()
    launchers.override_optuna_config()
    if {"-sc", "--shell-completion", "-h", "--help"} & set(sys.argv):
        cache_config_repository()
    with graceful_shutdown():
        _run()


def _run() -> None:
    group = None
    try:
        group = _join_group()
        if group is not None and group.rank > 0:
            group.worker_loop()
            return
        with report_on_exit():
            _task()
    except UserError as error:
        _refuse(error, error.what, error.remedy)
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


def _join_group() -> "ProcessGroup | None":
    """The processes that torchrun or srun started, if any: rank 0 runs the command, the others work for it."""
    if not any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS")):
        return None  # without importing torch
    from cam_adv.runtime.distributed import join

    return join()


def _refuse(error: Exception, what: str, remedy: str) -> NoReturn:
    if any(argument.lstrip("+").lower() == "debug=true" for argument in sys.argv):
        traceback.print_exception(error)
    print(f"cam-adv: {what}\n         {remedy}", file=sys.stderr)
    sys.exit(2)
