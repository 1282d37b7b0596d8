"""From Hydra's config to checked settings; any error is reported in two sentences, before any work starts."""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from cam_adv.config.renamed_keys import renamed
from cam_adv.config.settings import Settings
from cam_adv.errors import UserError
from cam_adv.schema.component import check_targets
from cam_adv.schema.wording import UNKNOWN_KEY, explain_validation_error


def settings_from(config: DictConfig, overrides: Sequence[str] = ()) -> Settings:
    """Check a composed config: types, ranges, choices, combinations and the arguments of each `_target_`.

    Args:
        overrides: of the command line, from which the remedy for a key of an earlier version takes its value.

    Raises:
        UserError: the first error, with its path and its value, and what to write instead.
    """
    values = _resolve(config)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        refusal = explain_validation_error(error, values)
        if refusal.what.endswith(UNKNOWN_KEY) and (
            words := renamed(refusal.what.removesuffix(UNKNOWN_KEY), overrides)
        ):
            refusal = UserError(*words)
        raise refusal from error
    check_targets(values)
    return settings


def _resolve(config: DictConfig) -> dict[str, Any]:
    """The config as plain values, with all interpolations resolved."""
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except MissingMandatoryValue as error:
        raise _no_value(str(error.full_key)) from error
    except InterpolationToMissingValueError as error:
        # Its `full_key` is where the interpolation stands; the key without a value ends the message's first line.
        raise _no_value(str(error).splitlines()[0].rsplit(" ", 1)[-1]) from error
    except OmegaConfBaseException as error:
        raise UserError(
            f"The config can't be resolved: {str(error).splitlines()[0]}.", "Correct the ${…} in that value."
        ) from error


def _no_value(key: str) -> UserError:
    return UserError(f"{key} has no value.", f"Set it, for instance with {key}=VALUE.")
