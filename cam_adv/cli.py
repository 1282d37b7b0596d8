"""The command `cam-adv`: compose the config, check it, call the study."""

import difflib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from cam_adv.endings import of_the_disk, told_to_end
from cam_adv.errors import UserError
from cam_adv.listing import read_configs_once
from cam_adv.overrides import values_of
from cam_adv.own_configs import look_for_own_configs
from cam_adv.run_folder import CONFIG, check_asked, check_resumable, held, is_finished
from cam_adv.sweep import launchers
from cam_adv.sweep.callback import reported_sweep
from cam_adv.sweep.record import NAME, Record

if TYPE_CHECKING:
    from cam_adv.hardware.processes import Company

PLANS = ("reliability", "kinds", "defence")
"""Groups of the config that only the stage of their name has."""


@hydra.main(config_path="pkg://cam_adv.conf", config_name="config", version_base="1.3")
def _task(config: DictConfig) -> float | None:
    job = HydraConfig.get()
    in_sweep, folder = job.mode == RunMode.MULTIRUN, Path(job.runtime.output_dir)
    try:
        check_asked(config.resume, Path(job.sweep.dir) if in_sweep else folder)
        with held(folder):
            before = Record.read(folder) if (folder / NAME).exists() else None
            if (folder / CONFIG).exists() or (config.resume and not in_sweep):
                check_resumable(folder, OmegaConf.to_yaml(config, resolve=True))
                if before.status == "finished" if before else is_finished(folder):
                    print(f"Nothing is left to do: {folder} is finished.")
                    return before.objective if before else None
            study = partial(_study, config, folder, in_sweep)
            record = Record.of(job.job.num, job.overrides.task) if in_sweep else before
            return record.keep(folder, study) if record else study()
    except UserError as error:
        if in_sweep:
            raise  # the sweep's other jobs go on, and the reason is told at its end
        _refuse(error, error.what, error.remedy)


def _study(config: DictConfig, folder: Path, in_sweep: bool) -> float | None:
    # Imported late: completing a command line, printing help and refusing a misspelt key need no torch.
    from cam_adv.config import settings_from

    settings = settings_from(config)
    if settings.retrain and in_sweep:
        raise UserError(
            "retrain=true in a sweep would train every model anew in each job.",
            "Run cam-adv retrain=true once, then the sweep without it.",
        )
    from cam_adv.study import run

    overrides = values_of(HydraConfig.get().overrides.task)
    return run(settings, folder, OmegaConf.to_yaml(config, resolve=True), overrides)


def main() -> None:
    """Run Hydra's command line, and turn whatever the user can mend into two sentences and exit code 2."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # Hydra then raises to here instead of printing and exiting
    sys.path.append(str(Path.cwd()))  # a network of the user's own may stand where the command is started
    look_for_own_configs()
    launchers.use_own_search()
    if {"-sc", "--shell-completion", "-h", "--help"} & set(sys.argv):
        read_configs_once()
    with told_to_end():
        _run()


def _run() -> None:
    company = None
    try:
        company = _company()
        if company is not None and company.rank > 0:
            company.serve()
            return
        with reported_sweep():
            _task()
    except UserError as error:
        _refuse(error, error.what, error.remedy)
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(error, *_in_words(error))
    except Exception as error:
        words = launchers.in_words(error) or of_the_disk(error) or _of_the_command_line(error)
        if words is None:
            raise
        _refuse(error, *words)
    finally:
        if company is not None:
            company.leave()


def _company() -> "Company | None":
    """The processes that torchrun or srun started with this one, if any: rank 0 runs the command, the others help."""
    if not any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS")):
        return None  # to know this much needs no torch
    from cam_adv.hardware.processes import join

    return join()


def _refuse(error: Exception, what: str, remedy: str) -> NoReturn:
    if any(argument.lstrip("+").lower() == "debug=true" for argument in sys.argv):
        traceback.print_exception(error)
    print(f"cam-adv: {what}\n         {remedy}", file=sys.stderr)
    sys.exit(2)


def _in_words(error: BaseException) -> tuple[str, str]:
    """What Hydra says about a command line, in two sentences."""
    for cause in _causes(error):
        if isinstance(cause, UserError):  # of a resolver, which OmegaConf wraps
            return cause.what, cause.remedy
    text = str(error)
    if isinstance(error, OverrideParseException):
        return (
            f"The override {error.override} can't be read.",
            "Write key=value, and quote what the shell would change.",
        )
    if unknown := re.search(
        r"Could not override '([^']+)'|Key '([^']+)' is not in struct|delete from config\. '([^']+)' does not", text
    ):
        path = next(filter(None, unknown.groups()))
        inside = {str(one.full_key) for one in _causes(error) if isinstance(one, ConfigKeyError)}
        # A mapping that was given as a whole may have a key too many.
        return _unknown_key(next((key for key in inside if key.startswith(f"{path}.")), path))
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing and (words := launchers.missing_extra(missing[1])):
        return words
    if choice := re.search(
        r"Could not find '([^']+)'.*?Available options in '([^']+)':\s*(.*?)\s*Config search", text, re.S
    ):
        options = ", ".join(choice[3].split())
        return f"There is no config {choice[1]}.", f"Choose {choice[2]} from {options}."
    first, *rest = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{first.rstrip('.')}.", " ".join(rest) or "See cam-adv --help."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What led to an error, the latest first."""
    cause: BaseException | None = error
    while cause := cause.__cause__ or cause.__context__:
        yield cause


def _of_the_command_line(error: Exception) -> tuple[str, str] | None:
    """What to say where Hydra failed over the overrides themselves; None where it had read them."""
    if all(frame.name != "compose_config" for frame in traceback.extract_tb(error.__traceback__)):
        return None
    said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return f"These overrides can't be used: {said}.", "See cam-adv --help for the choices, --cfg job for the keys."


def _unknown_key(path: str) -> tuple[str, str]:
    """What to say of a key that isn't there: what brings it, or how one is spelt that is."""
    with hydra.initialize_config_module("cam_adv.conf", version_base="1.3"):
        plans = [f"{group}=standard" for group in PLANS]
        known = _paths(OmegaConf.to_container(hydra.compose("config", plans), resolve=False))
    key = path.split("@")[-1]
    group = key.split(".")[0]
    if group in PLANS and key in known:
        return f"There is no key {path} in this config.", f"Add {group}=standard, or the experiment that sets it."
    # Another key that the chosen groups haven't got, though the default ones have, is no suggestion.
    close = difflib.get_close_matches(key, [one for one in known if one != key], n=1)
    guess = f"Did you mean {close[0]}? " if close else ""
    return f"There is no key {path}.", f"{guess}See all keys with cam-adv --cfg job."


def _paths(node: Any, prefix: str = "") -> list[str]:
    """Every key of a nested mapping as a dotted path."""
    if not isinstance(node, dict):
        return []
    return [path for key, child in node.items() for path in (f"{prefix}{key}", *_paths(child, f"{prefix}{key}."))]
