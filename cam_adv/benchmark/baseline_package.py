"""Imports of other packages that serve as baselines and are needed for nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

from cam_adv.errors import UserError


@contextmanager
def baseline_package(package: str, install: str = "pip install 'cam-adv[benchmark]'") -> Iterator[None]:
    """A context for the import of a package, in which an import error becomes a message for the user.

    Raises:
        UserError: the package isn't installed.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(f"{package} is not installed, so this comparison is left out.", f"Use {install}.") from error
