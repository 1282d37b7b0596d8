"""Texts as names of files and folders."""

import pytest

from cam_adv.runtime.slugify import slugify


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("attack.strength=1,seed=2", "attack.strength=1,seed=2"),
        ("dataset.root=/a b/ü,dataset.example_pairs=[[1, 2]]", "dataset.root=_a_b_ü,dataset.example_pairs=_1,_2_"),
        ("x=../../etc", "x=.._.._etc"),
    ],
)
def test_slugify_replaces_what_a_path_may_not_contain(text: str, name: str) -> None:
    assert slugify(text) == name


@pytest.mark.parametrize("letter", ["a", "ü", "犬", "𝒛"])
def test_slugify_long_text_fits_a_file_system(letter: str) -> None:
    name = slugify(f"x={letter * 500}")
    assert name.startswith(f"x={letter * 10}")
    assert len(f"123_{name}".encode()) <= 255
