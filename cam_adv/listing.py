"""Lists of choices, for a shell that completes a word and for the help, while the user still looks at the word."""

from collections.abc import Hashable

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra.core.override_parser.types import Override


def read_configs_once() -> None:
    """Let Hydra keep what it has read in this process, which answers and ends.

    Listing the groups, it copies its sources and reads the main config anew for each group: more than half of the
    time that an answer takes.
    """
    read = ConfigLoaderImpl._parse_overrides_and_create_caching_repo
    known: dict[Hashable, tuple[list[Override], CachingConfigRepository]] = {}

    def read_once(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        key = (self, config_name, *overrides)
        if key not in known:
            known[key] = read(self, config_name, overrides)
        return known[key]

    ConfigLoaderImpl._parse_overrides_and_create_caching_repo = read_once
