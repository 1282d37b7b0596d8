"""Processes that start processes in a worker of joblib."""

import multiprocessing


def use_known_start_method() -> None:
    """Make `multiprocessing` start processes by a method of its own.

    A process takes over this setting from the one that starts it, and doesn't know the method of joblib's workers.
    """
    if multiprocessing.get_start_method() not in multiprocessing.get_all_start_methods():
        multiprocessing.set_start_method("spawn", force=True)
