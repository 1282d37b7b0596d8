"""The page is one file that tells nothing about its pictures."""

import json
import re
from base64 import b64decode
from pathlib import Path

import pytest
from attacked_folder import CLASS_NAMES, save_attack

from cam_adv.studies.reading.attacked_run import load_attacked_run
from cam_adv.studies.reading.key import Key
from cam_adv.studies.reading.page import answer_keys, write_page
from cam_adv.studies.reading.pictures import make_key, pngs

DIGEST = "d1" * 32
SALT = "5a17" * 8


@pytest.fixture
def key(tmp_path: Path) -> Key:
    run = load_attacked_run(save_attack(tmp_path / "attack"))
    key = make_key(run, {"x_adv": 9, "x": 5, "start_image": 3, "reconstruction": 3}, 4, 0, SALT)
    write_page(pngs(key, run), CLASS_NAMES, DIGEST, tmp_path / "reading.html")
    return key


@pytest.fixture
def page(key: Key, tmp_path: Path) -> str:
    return (tmp_path / "reading.html").read_text(encoding="utf-8")


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def test_page_holds_the_pictures_in_the_order_of_the_key_and_nothing_else_about_them(
    page: str, key: Key, tmp_path: Path
) -> None:
    data = data_of(page)
    files = pngs(key, load_attacked_run(tmp_path / "attack"))
    assert data == {"digest": DIGEST, "nothing": -1, "pictures": data["pictures"]}
    assert [b64decode(picture) for picture in data["pictures"]] == files


def test_all_pictures_take_the_same_space(page: str) -> None:
    assert len({len(picture) for picture in data_of(page)["pictures"]}) == 1


def without_pictures(page: str) -> str:
    rest = re.sub(r'"pictures":\[.*?\]', "", page)
    assert len(rest) < len(page) - 20 * len(data_of(page)["pictures"][0])
    return rest


def test_rest_of_the_page_does_not_depend_on_the_pictures(page: str, key: Key, tmp_path: Path) -> None:
    """So there is no hint in it of which picture is of which kind or class."""
    run = load_attacked_run(tmp_path / "attack")
    other = make_key(run, {"x_adv": 3, "x": 12, "start_image": 3, "reconstruction": 2}, 4, 1, "other")
    write_page(pngs(other, run), CLASS_NAMES, DIGEST, tmp_path / "other.html")
    rest = without_pictures(page)
    assert rest == without_pictures((tmp_path / "other.html").read_text(encoding="utf-8"))
    for secret in (SALT, "x_adv", "start_image", "reconstruction", "judge", "repeat_of", "real"):
        assert secret not in rest


def test_page_names_no_other_file_and_forbids_to_load_any(page: str) -> None:
    assert "default-src 'none'" in page
    assert re.findall(r"https?://|//\w|src=|@import|url\(", without_pictures(page)) == []
    assert re.findall(r'href="(.*?)"', page) == ["data:,"]


def test_class_names_are_escaped(page: str) -> None:
    assert page.count("</script>") == 2
    assert "wide &lt;/script&gt; stripes" in page


@pytest.mark.parametrize(
    ("names", "keys", "nothing"),
    [
        ([str(digit) for digit in range(10)], "0123456789", "n"),
        (["cat", "dog"], "01", "n"),
        (["1", "2", "other", "0"], "1230", "n"),
        (["M", "m", "n", "no"], "m0n1", "-"),
        ([f"class {number}" for number in range(12)], "0123456789ab", "n"),
    ],
)
def test_keys_of_classes(names: list[str], keys: str, nothing: str) -> None:
    assert answer_keys(names) == (list(keys), nothing)


def test_hundred_classes_have_different_keys_or_none() -> None:
    keys, nothing = answer_keys([f"class {number}" for number in range(100)])
    used = [key for key in keys if key]
    assert len(used) == len(set(used)) == 35
    assert keys[35:] == [""] * 65
    assert nothing not in used
