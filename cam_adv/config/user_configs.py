"""The user's own configs, which add choices to the groups of `conf/`."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from cam_adv.errors import UserError
from cam_adv.runtime.quoting import written
from cam_adv.runtime.run_dir import CONFIG, read_config

FOLDER = "cam_adv_conf"
"""Folder in the working directory. It is not `conf`, where other applications of Hydra have their configs."""


class UserConfigSearchPath(SearchPathPlugin):
    """Appends the user's folder to Hydra's search path, so that it adds choices and replaces none."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder if it exists.

        Raises:
            UserError: a config in it has the name of one of the package's, which would hide it.
        """
        folder = Path(FOLDER).absolute()
        if folder.is_dir():
            _check_names(folder, FOLDER)
            search_path.append("own configs", f"file://{folder}")


def add_user_configs() -> None:
    """Let Hydra search the user's folder too, for every config that is composed in this process from now on."""
    Plugins.instance().register(UserConfigSearchPath)


def check_config_folders(arguments: Sequence[str]) -> None:
    """Refuse folders of configs on a command line whose configs would be ignored, or hide those of cam-adv.

    Raises:
        UserError: such a folder, with the command that repeats a run where it is that of a run.
    """
    known, _ = get_args_parser().parse_known_args(list(arguments))
    for folder in filter(None, (known.config_dir, known.config_path)):
        if _is_run(Path(folder)):
            raise UserError(
                f"{folder} is the folder of a run, whose {CONFIG} is no config to compose from.",
                f"Repeat the run with cam-adv {written('from', folder)}, and other overrides after it.",
            )
        if Path(folder).is_dir():
            _check_names(Path(folder), folder)


def _is_run(folder: Path) -> bool:
    try:
        config = read_config(folder)
    except UserError:  # there is none, or none that can be read
        return False
    return isinstance(config, dict) and {"study", "resume"} <= config.keys()


def _check_names(folder: Path, name: str) -> None:
    shipped = resources.files("cam_adv.conf")
    for path in sorted(folder.rglob("*.yaml")):
        inside = path.relative_to(folder)
        if shipped.joinpath(*inside.parts).is_file():
            raise UserError(f"{name}/{inside.as_posix()} has the name of a config of cam-adv.", "Rename it.")
