"""The user's own configs, which add choices to the groups of `conf/`."""

from importlib import resources
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from cam_adv.errors import UserError

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
        if not folder.is_dir():
            return
        shipped = resources.files("cam_adv.conf")
        for path in sorted(folder.rglob("*.yaml")):
            name = path.relative_to(folder)
            if shipped.joinpath(*name.parts).is_file():
                raise UserError(f"{FOLDER}/{name.as_posix()} has the name of a config of cam-adv.", "Rename it.")
        search_path.append("own configs", f"file://{folder}")


def add_user_configs() -> None:
    """Let Hydra search the user's folder too, for every config that is composed in this process from now on."""
    Plugins.instance().register(UserConfigSearchPath)
