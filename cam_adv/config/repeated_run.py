"""`from=FOLDER`: the overrides that repeat the run in a folder, with further ones on top."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from cam_adv.config.composition import compose
from cam_adv.config.overrides import parse_overrides
from cam_adv.errors import UserError
from cam_adv.runtime.quoting import quoted
from cam_adv.runtime.run_dir import CONFIG, MULTIRUN_CONFIG, OVERRIDES, flatten, read_config

NOT_REPEATED = ("from", "resume", "retrain", "debug")
"""Keys that belong to one command: they don't change a run's results."""


def with_repeated_run(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command; before `from=FOLDER` among them, the overrides that give that run's config.

    The other arguments go on top: what they set, or replace by another choice of a group, is not repeated.

    Raises:
        UserError: the folder has no run, or its overrides don't fit this version.
    """
    position = next((number for number, text in enumerate(arguments) if text.lstrip("+").startswith("from=")), None)
    if position is None:
        return list(arguments)
    folder = parse_overrides([arguments[position]])["from"]
    if folder is None:
        return list(arguments)
    own = [_key(text) for text in arguments if not text.startswith("-")]
    repeated = [text for text in _overrides_of(Path(str(folder)).expanduser()) if not _is_set(_key(text), own)]
    return [*arguments[:position], *repeated, *arguments[position:]]


def _overrides_of(folder: Path) -> list[str]:
    """The overrides of the run in a folder, and others for what its config has beside them: defaults may change."""
    if not (folder / CONFIG).exists():
        is_sweep = (folder / MULTIRUN_CONFIG).exists()
        raise UserError(
            f"from={folder} is {'the folder of a sweep' if is_sweep else 'no folder of a run'}.",
            "Give the folder of one of its jobs." if is_sweep else f"Give one, with the {CONFIG} of that run.",
        )
    saved = flatten(read_config(folder))
    overrides = [text for text in _read_overrides(folder / OVERRIDES) if _key(text) not in NOT_REPEATED]
    try:
        now = flatten(OmegaConf.to_container(compose(overrides), resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(
            f"The overrides of the run in {folder} don't fit this version: {str(error).splitlines()[0].rstrip('.')}.",
            f"Give its settings as overrides of your own; they are in {folder / OVERRIDES}.",
        ) from error
    removed = {_outermost(key, saved) for key in now if key not in saved and key not in NOT_REPEATED}
    changed = [
        f"{'' if key in now else '++'}{key}={_text(value)}"
        for key, value in saved.items()
        if key not in NOT_REPEATED and not (key in now and now[key] == value)
    ]
    # Hydra removes no key whose value is null, or refers to a key that is gone.
    return [*overrides, *changed, *(f"{key}=0" for key in sorted(removed)), *(f"~{key}" for key in sorted(removed))]


def _outermost(key: str, keys: Iterable[str]) -> str:
    """The outermost mapping around a key that holds none of the other keys; the key itself if all hold some."""
    parts = key.split(".")
    outer = [".".join(parts[:depth]) for depth in range(1, len(parts))]
    return next((path for path in outer if not any(f"{one}.".startswith(f"{path}.") for one in keys)), key)


def _read_overrides(file: Path) -> list[str]:
    """The overrides in a file; none if a run of an earlier version has left none."""
    if not file.exists():
        return []
    try:
        content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise UserError(f"{file} can't be read.", "Restore it, or remove it: config.yaml is enough.") from error
    return [str(text) for text in content] if isinstance(content, list) else []


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _is_set(key: str, own: Sequence[str]) -> bool:
    """Whether one of the keys, or of the groups that take another choice, is this key or has it inside."""
    sections = [one.rpartition("@")[2].replace("/", ".") for one in own]
    return key in own or any(key.replace("/", ".").startswith(f"{section}.") for section in sections)


def _text(value: Any) -> str:
    """A plain value as the grammar of overrides writes it."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_text(one)}' for key, one in value.items())}}}"
    return {None: "null", True: "true", False: "false"}[value] if isinstance(value, bool | None) else repr(value)
