"""What the study `doctor` prints."""

import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from cam_adv.reports.console import new_table, print_table
from cam_adv.training.stored_models import STALE, StoredModel

REMOVED, KEPT = "removed", "kept: in use"
"""What becomes of a model that `prune` names."""

MEGABYTE = 1e6


def print_facts(heading: str, columns: tuple[str, str], facts: Mapping[str, str]) -> None:
    """Print names, and what is to be said of each."""
    table = new_table(heading, compact=True)
    table.add_column(columns[0])
    table.add_column(columns[1], overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, fact)
    print_table(table)


def extras_text(extras: Mapping[str, Mapping[str, str | None]]) -> dict[str, str]:
    """For each extra the versions of its packages, or how to install it."""
    return {
        extra: f"not installed: pip install 'cam-adv[{extra}]'"
        if None in packages.values()
        else ", ".join(f"{name} {version}" for name, version in packages.items())
        for extra, packages in extras.items()
    }


def print_store(store: Path, models: Sequence[StoredModel], fates: Mapping[Path, str]) -> None:
    """Print what a store holds, and below it how much it takes and what was freed.

    Args:
        fates: `REMOVED` or `KEPT` for the folders of the models that `prune` names.
    """
    if not models:
        print(f"{store} holds no models.")
        return
    table = new_table(f"models in {store}", compact=True)
    for heading in ("model", "digest", "MB", "last used", "state"):
        table.add_column(heading, justify="right" if heading == "MB" else "left")
    for model in models:
        digest = model.folder.name.removeprefix(f"{model.name}-").partition(".")[0]
        used = datetime.fromtimestamp(model.last_used).strftime("%Y-%m-%d")
        table.add_row(model.name, digest, f"{model.size / MEGABYTE:.1f}", used, fates.get(model.folder, model.state))
    print_table(table)
    stale = [model for model in models if model.state in STALE]
    removed = [model for model in models if fates.get(model.folder) == REMOVED]
    print(f"{_sum(models)}, of which {_sum(stale)} are stale.")
    if fates:
        print(f"Removed {_sum(removed)}.")
    elif stale:
        print("A run of today's code would use none of the stale ones; study.prune=stale removes them.")
    print(f"The disk has {shutil.disk_usage(store).free / MEGABYTE:.0f} MB free.")


def _sum(models: Sequence[StoredModel]) -> str:
    return f"{len(models)} model{'s'[: len(models) != 1]} ({sum(model.size for model in models) / MEGABYTE:.1f} MB)"
