"""A result that the project states, and the command that makes it."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cam_adv.config.composition import compose
from cam_adv.runtime.digest import digest
from cam_adv.runtime.quoting import grammar
from cam_adv.runtime.source_hash import source_hash, targets_in

COMMAND = "cam-adv"
CLONE = Path(__file__).parents[2]
"""Of which this package is a part."""

PLACES = ("hardware", "outputs", "name")
"""Keys of the config on which no result depends."""


@dataclass(frozen=True)
class Result:
    """A result and its command.

    name: of its record, and in the pages.
    command: as it is typed into a shell, in the root of a clone.
    minutes: that it takes on two cores, models that no cheaper result has trained included.
    headline: whether the README states it.
    values: the JSON file that the command leaves in its folder.
    files: further JSON files there, recorded among the values under their names without `.json`.
    left_out: patterns of what is not recorded, of paths of keys such as `claims.*.details`; `*` stands for any keys.
    pictures: file in the folder of the run → its name beside the pages; a job of a sweep by its number, as in
        `0/figures/pairs.png`.
    code: of the command, if it is not `cam-adv`: files and folders in the clone.
    needs: files and folders that must be there, and are not downloaded. gpu: whether it says something of a GPU only.
    """

    name: str
    command: str
    minutes: float
    headline: bool = False
    values: str = "summary.json"
    files: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    gpu: bool = False

    @property
    def arguments(self) -> list[str]:
        """The words of the command."""
        return shlex.split(self.command)

    @property
    def is_run(self) -> bool:
        """Whether the command is `cam-adv`, whose runs can be resumed."""
        return self.arguments[0] == COMMAND

    @cached_property
    def source(self) -> str:
        """A digest of all that the result depends on: the config, and the source code that its classes reach.

        A command that is not `cam-adv` depends on its own code, and on what `cam-adv` without overrides does.
        """
        overrides = [text for text in self.arguments[1:] if not text.startswith("-")] if self.is_run else []
        configs = [_without_places(compose(job)) for job in jobs_of(overrides)]
        content = {"configs": configs, "source": source_hash(*targets_in(configs))}
        content |= (
            {"code": code} if (code := [file.read_text(encoding="utf-8") for file in self._code_files()]) else {}
        )
        return digest(content, {})

    def _code_files(self) -> list[Path]:
        places = [CLONE / name for name in self.code]
        return [file for place in places for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]


def _without_places(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items() if key not in PLACES}


def jobs_of(overrides: list[str]) -> Iterator[list[str]]:
    """The overrides of jobs that have among them every value of every swept key: one value differs from the first."""
    choices = [
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [text]
        for text, one in zip(overrides, grammar().parse_overrides(overrides), strict=True)
    ]
    first: list[Any] = [values[0] for values in choices]
    yield first
    for position, values in enumerate(choices):
        for value in values[1:]:
            yield [*first[:position], value, *first[position + 1 :]]
