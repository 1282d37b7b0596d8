"""A cache for Hydra's lists of choices, which the help and shell completion need within a moment."""

from collections.abc import Hashable

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.override_parser.types import Override


def cache_config_repository() -> None:
    """Let Hydra cache the configs that it reads in this process.

    To list the groups, Hydra copies its sources and reads the main config again for each group, which takes more than
    half of the command's time. The cache does not see changed files, so it is for a process that prints and ends.
    """
    read = ConfigLoaderImpl._parse_overrides_and_create_caching_repo
    cache: dict[Hashable, tuple[list[Override], CachingConfigRepository]] = {}

    def read_once(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        key = (self, config_name, *overrides)
        if key not in cache:
            cache[key] = read(self, config_name, overrides)
        return cache[key]

    setattr(ConfigLoaderImpl, read.__name__, read_once)  # Hydra has no public interface for this
