"""Configs of the user's own, which add to the groups of `conf/`."""

from importlib import resources
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from cam_adv.errors import UserError

FOLDER = "cam_adv_conf"
"""Looked for where the command is started. Not `conf`: other applications of Hydra keep theirs there."""


class OwnConfigs(SearchPathPlugin):
    """Puts the user's folder behind the package's configs: it adds choices and takes none away."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add the folder if it is there.

        Raises:
            UserError: a config in it has the name of one of the package's, so that one would hide the other.
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


def look_for_own_configs() -> None:
    """Have Hydra search the user's folder too, in whatever is composed from now on in this process."""
    Plugins.instance().register(OwnConfigs)
