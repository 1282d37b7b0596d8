"""Hydra's launchers and sweepers from other packages: their configs, and their errors as messages for users."""

from concurrent.futures import BrokenExecutor
from subprocess import CalledProcessError

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins


def override_optuna_config() -> None:
    """Let `conf/hydra/sweeper/optuna.yaml` replace the plugin's config of the same name.

    Otherwise Hydra would take the plugin's config as the schema of ours, and refuse it for its defaults list.
    """
    Plugins.instance()  # makes all plugins store their configs
    ConfigStore.instance().repo["hydra"].get("sweeper", {}).pop("optuna.yaml", None)


def explain_error(error: Exception) -> tuple[str, str] | None:
    """The problem and its remedy for an error of a launcher or a sweeper; None for any other error."""
    text = " ".join(str(error).split())
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name, since submitit may not be installed
    if isinstance(error, BrokenExecutor):  # joblib's
        return (
            "A worker of the sweep was killed, often because memory ran out, and the sweep stopped.",
            "Lower hydra.launcher.n_jobs, and start the sweep again.",
        )
    if "UncompletedJobError" in kinds and isinstance(error.__cause__, CalledProcessError):
        return f"SLURM refused the sweep's jobs: {text}.", "Correct what it names with hydra.launcher.KEY=VALUE."
    if "UncompletedJobError" in kinds:
        return (
            f"A job of the sweep ended without a result: {text[:200]}.",
            "Its log is in the sweep's folder under .submitit; a job's time limit is hydra.launcher.timeout_min.",
        )
    if 'Could not detect "srun"' in text:
        return "This machine has no SLURM.", "Use hydra/launcher=submitit_local, or start the sweep on the cluster."
    if text.startswith("No trials are completed"):
        return "No trial of the search finished.", "Correct the reason in the table above, and start it again."
    return None
