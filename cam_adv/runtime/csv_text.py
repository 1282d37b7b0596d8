"""Tables as CSV text."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows as CSV with a header line, which has the keys of the first row.

    Args:
        rows: at least one, all with the same keys. None is written as an empty field.

    Raises:
        ValueError: a row has a key that the first row lacks.
    """
    text = StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
