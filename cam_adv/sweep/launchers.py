"""What Hydra's launchers and sweepers of other packages say, in two sentences."""

from concurrent.futures import BrokenExecutor
from subprocess import CalledProcessError

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

EXTRAS = {
    "hydra/launcher/joblib": "joblib",
    "hydra/launcher/submitit_local": "submitit",
    "hydra/launcher/submitit_slurm": "submitit",
    "hydra/sweeper/sampler/tpe": "optuna",
}
"""Configs that another package ships, and the extra of this one that brings it."""


def use_own_search() -> None:
    """Let `conf/hydra/sweeper/optuna.yaml` stand in for the plugin's config of that name.

    Hydra would take the plugin's for the schema of ours, and refuse a schema that has a defaults list.
    """
    Plugins.instance()  # by now every plugin has stored its configs
    ConfigStore.instance().repo["hydra"].get("sweeper", {}).pop("optuna.yaml", None)


def missing_extra(config: str) -> tuple[str, str] | None:
    """What to say of a config that isn't there: None if no extra brings it."""
    if config not in EXTRAS:
        return None
    return f"{config} comes with another package.", f"Install it with pip install 'cam-adv[{EXTRAS[config]}]'."


def in_words(error: Exception) -> tuple[str, str] | None:
    """What went wrong between a sweep and its jobs; None for an error of any other kind."""
    text = " ".join(str(error).split())
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, BrokenExecutor):  # joblib's
        return (
            "A worker of the sweep was killed, often for want of memory, and the sweep ended with it.",
            "Lower hydra.launcher.n_jobs, and start the sweep again.",
        )
    if "UncompletedJobError" in kinds and isinstance(error.__cause__, CalledProcessError):
        return f"SLURM refused the sweep's jobs: {text}.", "Mend what it names with hydra.launcher.KEY=VALUE."
    if "UncompletedJobError" in kinds:
        return (
            f"A job of the sweep ended without an answer: {text[:200]}.",
            "Its log is in the sweep's folder under .submitit; a job's time is hydra.launcher.timeout_min.",
        )
    if 'Could not detect "srun"' in text:
        return "This machine has no SLURM.", "Use hydra/launcher=submitit_local, or start the sweep on the cluster."
    if text.startswith("No trials are completed"):
        return "No trial of the search came to an end.", "Mend the reason in the table above, and start it again."
    return None
