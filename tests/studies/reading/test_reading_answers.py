"""Files of answers: what they give, and which are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cam_adv.errors import UserError
from cam_adv.studies.reading.answers import read_answers
from cam_adv.studies.reading.key import Key, Picture

DIGEST = "d1" * 32
PICTURE = Picture(kind="x_adv", row=0, y=0, target=1, judge_reads=1, cluster=0, pixels="", repeat_of=None)
KEY = Key(salt="", attack="type1", class_names=("a", "b"), pictures=(PICTURE,) * 3)


def content(reader: str = "", answers: tuple[int, ...] = (0, -1, 1), **changes: Any) -> dict[str, Any]:
    rows = [{"picture": place, "answer": answer, "ms": 100 * place} for place, answer in enumerate(answers)]
    return {"digest": DIGEST, "reader": reader, "answers": rows} | changes


def save(path: Path, one: Any) -> Path:
    path.write_text(one if isinstance(one, str) else json.dumps(one))
    return path


def test_answers_are_in_the_order_of_the_pictures_and_readers_have_names(tmp_path: Path) -> None:
    shuffled = content(" Ann ")
    shuffled["answers"].reverse()
    files = [save(tmp_path / "a.json", shuffled), save(tmp_path / "b.json", content(answers=(1, 1, 1)))]
    ann, other = read_answers(files, KEY, DIGEST)
    assert (ann.name, ann.answer.tolist()) == ("Ann", [0, -1, 1])
    assert ann.seconds.tolist() == pytest.approx([0, 0.1, 0.2])
    assert (other.name, other.answer.tolist()) == ("b", [1, 1, 1])


def changed(number: int, **values: Any) -> dict[str, Any]:
    one = content()
    one["answers"][number] |= values
    return one


UNUSABLE: list[tuple[Any, str, str]] = [
    ("", "a.json is no file of answers (Invalid JSON", "Give the JSON file that the page"),
    ('{"digest": "d', "a.json is no file of answers (Invalid JSON", "Give the JSON file that the page"),
    ("[]", "a.json is no file of answers (Input should be an object)", "Give the JSON file that the page"),
    ({"answers": []}, "a.json is no file of answers (digest: Field required)", "Give the JSON file that the page"),
    (changed(1, answer=True), "answers.1.answer: Value error, Input should be a valid integer", "Give the JSON"),
    (changed(1, answer=None), "a.json is no file of answers (answers.1.answer", "Give the JSON file that the page"),
    (changed(1, ms=-1), "a.json is no file of answers (answers.1.ms", "Give the JSON file that the page"),
    (changed(1, more=1), "a.json is no file of answers (answers.1.more", "Give the JSON file that the page"),
    (content(digest="ab" * 32), "a.json answers another page than that of this run", "Give the run whose page"),
    (changed(1, picture=3), "a.json answers picture 3, but the page has 3, from 0 on", "Give the JSON file"),
    (changed(1, picture=-1), "a.json answers picture -1, but the page has 3, from 0 on", "Give the JSON file"),
    (changed(1, picture=2), "a.json answers picture 2 twice", "Give the JSON file"),
    (changed(1, answer=2), "a.json says that picture 1 shows class 2, but there are only the classes", "Give the"),
    (changed(1, answer=-2), "a.json says that picture 1 shows class -2, but there are only the classes", "Give the"),
    (content(answers=(0, 1)), "a.json answers 2 of 3 pictures", "Open the page again where it was begun"),
    (content(answers=()), "a.json answers 0 of 3 pictures", "Open the page again where it was begun"),
]


@pytest.mark.parametrize(("one", "what", "remedy"), UNUSABLE, ids=lambda part: str(part)[:50])
def test_unusable_file_is_refused_in_two_sentences_and_stays(
    tmp_path: Path, one: Any, what: str, remedy: str
) -> None:
    path = save(tmp_path / "a.json", one)
    before = path.read_bytes()
    refusal = refuse([path])
    assert what in refusal.what
    assert refusal.what.endswith(".")
    assert refusal.remedy.startswith(remedy)
    assert path.read_bytes() == before


def refuse(files: list[Path]) -> UserError:
    with pytest.raises(UserError) as error:
        read_answers(files, KEY, DIGEST)
    return error.value


@pytest.mark.parametrize("make", [lambda path: path, lambda path: path.mkdir() or path])
def test_missing_file_is_refused(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    refusal = refuse([make(tmp_path / "none.json")])
    assert refusal.what.startswith(f"{tmp_path / 'none.json'} can't be read: ")
    assert refusal.remedy == "Give files that exist in answers."


def test_same_answers_are_refused_under_whatever_name(tmp_path: Path) -> None:
    first = save(tmp_path / "a.json", content("Ann"))
    second = save(tmp_path / "b.json", content("Bob"))
    for other in (first, second):
        refusal = refuse([first, other])
        assert refusal.what == f"{other} has the same answers as {first}."
        assert refusal.remedy == "Give the file of each reader once."


def test_second_file_of_a_reader_is_refused(tmp_path: Path) -> None:
    first = save(tmp_path / "a.json", content("Ann"))
    second = save(tmp_path / "b.json", content(" ann", answers=(1, 1, 1)))
    refusal = refuse([first, second])
    assert refusal.what == f"{second} and {first} are both of the reader ann."
    assert refusal.remedy.startswith("Leave one out, or write different names")
