"""From overrides to Hydra's config, without Hydra's global state."""

from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from hydra.version import VersionBase, setbase
from omegaconf import DictConfig, open_dict


def compose(overrides: Sequence[str] = (), name: str = "config") -> DictConfig:
    """The config of these overrides, as the command line composes it, without Hydra's own section.

    `hydra.compose` needs Hydra's global state, which an application of somebody else may have set.

    Args:
        name: of the config in `conf/`.

    Raises:
        HydraException, OmegaConfBaseException: an override can't be used; see `command_errors`.
    """
    version = VersionBase.instance()
    before = version.version_base
    setbase("1.3")
    try:
        setup_globals()
        loader = ConfigLoaderImpl(create_config_search_path("pkg://cam_adv.conf"))
        config = loader.load_configuration(name, list(overrides), RunMode.RUN, from_shell=False)
    finally:
        version.version_base = before
    with open_dict(config):
        config.pop("hydra", None)
    return config
