"""Which pictures a page shows, in which order, and what its key tells."""

import hashlib
from pathlib import Path

import pytest
import torch
from attacked_folder import ROWS, attack_tensors, save_attack

from cam_adv.errors import UserError
from cam_adv.studies.reading.attacked_run import load_attacked_run
from cam_adv.studies.reading.files import ReadingFiles
from cam_adv.studies.reading.key import Key, PictureKind, shuffle
from cam_adv.studies.reading.pictures import make_key, png, pngs

COUNTS: dict[PictureKind, int] = {"x_adv": 8, "x": 5, "start_image": 100, "reconstruction": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_attack(tmp_path / "attack")


def key_of(folder: Path, seed: int = 0, salt: str = "salt") -> Key:
    return make_key(load_attacked_run(folder), COUNTS, 4, seed, salt)


def shown(key: Key) -> set[tuple[str, int]]:
    return {(picture.kind, picture.row) for picture in key.pictures}


def test_key_has_at_most_as_many_pictures_of_each_kind_as_asked_for_and_the_repeats(folder: Path) -> None:
    key = key_of(folder)
    kinds = [picture.kind for picture in key.pictures if picture.repeat_of is None]
    assert {kind: kinds.count(kind) for kind in COUNTS} == COUNTS | {"start_image": ROWS // 3}
    assert len(key.pictures) == len(kinds) + 4
    assert len(shown(key)) == len(kinds)


def test_key_tells_the_labels_of_each_row(folder: Path) -> None:
    tensors = attack_tensors()
    for picture in key_of(folder).pictures:
        for name in ("y", "target", "judge_reads"):
            assert getattr(picture, name) == int(tensors[name][picture.row])
        assert picture.cluster == (picture.row // 3 if picture.kind == "x_adv" else picture.row)
        assert picture.pixels == hashlib.sha256(png(tensors[picture.kind][picture.row])).hexdigest()


def test_repeats_are_of_the_first_third_and_stand_in_the_last(folder: Path) -> None:
    pictures = key_of(folder).pictures
    repeats = [(place, one.repeat_of) for place, one in enumerate(pictures) if one.repeat_of is not None]
    third = (len(pictures) - 4) // 3
    assert len({first for _, first in repeats}) == 4
    for place, first in repeats:
        assert first < third
        assert place >= len(pictures) - 4 - third
        assert (pictures[place].kind, pictures[place].row) == (pictures[first].kind, pictures[first].row)


@pytest.mark.parametrize(("pictures", "repeats"), [(1, 5), (2, 0), (3, 1), (10, 10), (180, 10)])
def test_shuffled_places_show_each_picture_once_and_at_most_a_third_twice(pictures: int, repeats: int) -> None:
    places = shuffle(pictures, repeats, "secret")
    assert sorted(place.picture for place in places if place.repeat_of is None) == list(range(pictures))
    assert len(places) == pictures + min(repeats, pictures // 3)


def test_seed_and_salt_determine_the_key(folder: Path) -> None:
    assert key_of(folder) == key_of(folder)
    assert shown(key_of(folder, seed=1)) != shown(key_of(folder))


def test_salt_changes_the_order_but_not_the_pictures(folder: Path) -> None:
    """Otherwise everybody who knows the seed would know the order."""
    other = key_of(folder, salt="other")
    assert shown(other) == shown(key_of(folder))
    assert [one.pixels for one in other.pictures] != [one.pixels for one in key_of(folder).pictures]


def test_digest_is_that_of_the_file_and_of_no_other_key(folder: Path) -> None:
    files = ReadingFiles(folder)
    digest = files.write_key(key_of(folder))
    assert files.digest.read_text() == f"{hashlib.sha256(files.key.read_bytes()).hexdigest()}\n" == f"{digest}\n"
    assert files.read_key() == (key_of(folder), digest)
    assert files.key.parent not in (files.page.parent, files.digest.parent)
    assert hashlib.sha256(key_of(folder, salt="other").to_bytes()).hexdigest() != digest


def test_png_is_lossless_and_of_one_size_whatever_it_shows() -> None:
    from io import BytesIO

    import numpy as np
    from PIL import Image

    for shape in ((1, 9, 9), (3, 9, 9)):
        noise, plain = torch.rand(shape, generator=torch.Generator().manual_seed(0)), torch.zeros(shape)
        assert len(png(noise)) == len(png(plain))
        array = np.array(Image.open(BytesIO(png(noise)))).reshape(9, 9, -1).transpose(2, 0, 1)
        assert np.array_equal(array, (noise * 255).round().byte().numpy())


def test_pictures_changed_since_the_key_was_made_are_refused(folder: Path, tmp_path: Path) -> None:
    key, run = key_of(folder), load_attacked_run(folder)
    assert [hashlib.sha256(file).hexdigest() for file in pngs(key, run)] == [one.pixels for one in key.pictures]
    changed = attack_tensors()
    changed["x_adv"] = changed["x_adv"].flip(0).contiguous()
    for tensors in (changed, attack_tensors(on_pixels=True)):
        other = load_attacked_run(save_attack(tmp_path / f"{len(tensors)}", tensors))
        with pytest.raises(UserError, match="have changed since its key was made"):
            pngs(key, other)


def test_attack_on_pixels_has_no_starts(tmp_path: Path) -> None:
    key = key_of(save_attack(tmp_path / "attack", attack_tensors(on_pixels=True), kind="type2"))
    assert key.attack == "type2"
    assert {kind for kind, _ in shown(key)} == {"x_adv", "x", "reconstruction"}
