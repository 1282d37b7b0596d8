"""Other packages, which a benchmark stands beside and needs for nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

from cam_adv.errors import UserError


@contextmanager
def peer(package: str, how: str = "pip install 'cam-adv[benchmark]'") -> Iterator[None]:
    """Import another package inside; where it is missing, say so in place of a line of the table.

    Raises:
        UserError: it isn't installed.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(f"{package} is not installed, so nothing stands beside it.", f"Use {how}.") from error
