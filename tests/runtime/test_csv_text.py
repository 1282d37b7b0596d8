"""Tables as CSV text."""

import csv
from io import StringIO

import pytest

from cam_adv.runtime.csv_text import csv_text


def test_csv_text_has_header_and_one_line_per_row() -> None:
    rows = [{"name": "a, b", "rate": 0.5}, {"name": 'say "no"', "rate": None}]
    assert csv_text(rows) == 'name,rate\n"a, b",0.5\n"say ""no""",\n'


def test_csv_text_is_read_back_by_csv_module() -> None:
    rows = [{"name": "two\nlines", "number": "1"}, {"name": "häuser", "number": ""}]
    assert list(csv.DictReader(StringIO(csv_text(rows), newline=""))) == rows


def test_csv_text_row_with_unknown_key_raises() -> None:
    with pytest.raises(ValueError, match="other"):
        csv_text([{"name": 1}, {"name": 1, "other": 2}])
