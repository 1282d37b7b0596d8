"""The two commands: the first writes the page, the second the table."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from attacked_folder import attack_tensors, save_attack
from conftest import AttackRun, CommandResult

from cam_adv.studies.reading.pictures import png


@pytest.fixture
def read(command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path) -> Callable[..., CommandResult]:
    """Runs the study on the attack in `attack`, with its results in `into`; the second writes where it may not."""
    save_attack(tmp_path / "attack")

    def run(*overrides: str, into: str = "out") -> CommandResult:
        return command(*tiny, "study=reading", "run=attack", f"hydra.run.dir={into}", *overrides)

    return run


def key_of(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "attack" / "reading_key.json").read_text())["pictures"]


def answer_page(folder: Path, name: str, see: Callable[[dict[str, Any]], int]) -> str:
    """Write a file of answers by somebody who knows the key; its path."""
    pictures = key_of(folder)
    answers = [{"picture": place, "answer": see(one), "ms": 500} for place, one in enumerate(pictures)]
    digest = (folder / "attack" / "reading" / "digest.txt").read_text().strip()
    (folder / f"{name}.json").write_text(json.dumps({"digest": digest, "reader": name, "answers": answers}))
    return f"{name}.json"


def test_page_then_table(read: Callable[..., CommandResult], tmp_path: Path) -> None:
    first = read()
    assert first.code == 0, first.err
    folder = tmp_path / "attack"
    digest = (folder / "reading" / "digest.txt").read_text().strip()
    page = (folder / "reading" / "reading.html").read_text(encoding="utf-8")
    assert digest in first.out
    assert page.count(digest) == 2
    assert "attack/reading/reading.html" in first.out
    assert json.loads((tmp_path / "out" / "reading.json").read_text()) == {
        "page": "attack/reading/reading.html",
        "key": "attack/reading_key.json",
        "digest": digest,
        "pictures": 12 + 12 + 4 + 12 + 10,
    }
    assert not (tmp_path / "outputs" / "models").exists()

    ann = answer_page(tmp_path, "ann", lambda one: one["target"] if one["kind"] == "x_adv" else one["y"])
    bob = answer_page(tmp_path, "bob", lambda one: -1 if one["kind"] == "x_adv" else one["y"])
    second = read(f"answers=[{ann},{bob}]", into="table")
    assert second.code == 0, second.err
    table = json.loads((tmp_path / "table" / "reading.json").read_text())
    assert (table["run"], table["digest"], table["kind"]) == ("attack", digest, "type1")
    read_as = {
        kind: {name: rate["rate"] for name, rate in of_kind["read_as"].items()}
        for kind, of_kind in table["kinds"].items()
    }
    assert read_as["x_adv"] == {"target": 0.5, "y": 0, "nothing": 0.5, "other": 0}
    assert read_as["x"] == read_as["reconstruction"] == {"y": 1, "nothing": 0, "other": 0}
    assert table["judge"]["rate"] == 0.5  # it reads y' or nothing, and so does one of the two
    assert table["kinds"]["x_adv"]["agreement"]["share"] == 0
    assert table["agreement"]["share"] == pytest.approx(28 / 40)
    assert list(table["readers"]) == ["ann", "bob"]
    assert table["readers"]["ann"]["same_again"]["rate"] == 1
    assert "x', the result of the attack" in second.out
    assert "The judge reads in x' what a reader does: 50.0%" in second.out

    single = read(f"answers={ann}", into="single")
    assert single.code == 0, single.err
    assert json.loads((tmp_path / "single" / "reading.json").read_text())["agreement"] is None


@pytest.mark.slow
def test_page_of_a_real_attack(
    attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
) -> None:
    """What `study=attack` writes is what this study reads: the key holds its labels and its pictures."""
    (tmp_path / "attack").mkdir()
    for name in ("attack.safetensors", "summary.json"):
        shutil.copy(attack_run.folder / name, tmp_path / "attack")
    result = command(*tiny, "study=reading", "run=attack", "study.repeats=5", "hydra.run.dir=out")
    assert result.code == 0, result.err
    pictures, tensors = key_of(tmp_path), attack_run.tensors
    assert len(pictures) == json.loads((tmp_path / "out" / "reading.json").read_text())["pictures"]
    once = [one for one in pictures if one["repeat_of"] is None]
    assert len(pictures) == len(once) + 5
    kinds = Counter(one["kind"] for one in once)
    assert kinds["x_adv"] == kinds["x"] == len(tensors["y"])
    assert kinds["start_image"] == len(tensors["start_image"].unique(dim=0))
    assert kinds["reconstruction"] == len(tensors["reconstruction"].unique(dim=0))
    for one in pictures:
        for name in ("y", "target", "judge_reads"):
            assert one[name] == tensors[name][one["row"]]
        assert one["pixels"] == sha256(png(tensors[one["kind"]][one["row"]])).hexdigest()
    page = (tmp_path / "attack" / "reading" / "reading.html").read_text(encoding="utf-8")
    for name in attack_run.summary["class_names"]:
        assert name in page
    answers = answer_page(tmp_path, "ann", lambda one: one["judge_reads"] if one["kind"] == "x_adv" else one["y"])
    second = command(*tiny, "study=reading", "run=attack", f"answers={answers}", "hydra.run.dir=table")
    assert second.code == 0, second.err
    table = json.loads((tmp_path / "table" / "reading.json").read_text())
    assert table["judge"]["rate"] == 1
    for name, question in (("target", "judge_reads_target"), ("y", "judge_reads_source")):
        share = table["kinds"]["x_adv"]["read_as"][name]["rate"]
        assert share == pytest.approx(attack_run.summary[question]["rate"])


def test_page_that_may_be_in_use_stays(read: Callable[..., CommandResult], tmp_path: Path) -> None:
    assert read(into="first").code == 0
    files = [
        tmp_path / "attack" / name for name in ("reading_key.json", "reading/digest.txt", "reading/reading.html")
    ]
    before = [file.read_bytes() for file in files]
    again = read("study.pictures=3", "seed=1", into="second")
    assert again.code == 0, again.err
    assert "attack has a page, which stays as it is" in again.out
    assert [file.read_bytes() for file in files] == before
    files[2].unlink()  # as if the first command had been killed before it wrote the page
    assert read(into="third").code == 0
    assert [file.read_bytes() for file in files] == before


def test_other_salt_gives_another_order(read: Callable[..., CommandResult], tmp_path: Path) -> None:
    """The seed is the same; nobody can tell the order from it."""
    assert read(into="first").code == 0
    before = key_of(tmp_path)
    (tmp_path / "attack" / "reading_key.json").unlink()
    (tmp_path / "attack" / "reading" / "reading.html").unlink()
    assert read(into="second").code == 0
    after = key_of(tmp_path)
    assert after != before
    assert {(one["kind"], one["row"]) for one in after} == {(one["kind"], one["row"]) for one in before}


def tamper_with_key(folder: Path) -> None:
    file = folder / "attack" / "reading_key.json"
    file.write_text(file.read_text().replace('"judge_reads": -1', '"judge_reads": 1', 1))


def tamper_with_digest(folder: Path) -> None:
    (folder / "attack" / "reading" / "digest.txt").write_text("0" * 64)


def remove_key(folder: Path) -> None:
    (folder / "attack" / "reading_key.json").unlink()


def remove_digest(folder: Path) -> None:
    (folder / "attack" / "reading" / "digest.txt").unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (tamper_with_key, "reading_key.json has changed: its digest isn't the one in attack/reading/digest.txt"),
        (tamper_with_digest, "reading_key.json has changed: its digest isn't the one in attack/reading/digest.txt"),
        (remove_key, "reading_key.json or attack/reading/digest.txt is missing"),
        (remove_digest, "reading_key.json or attack/reading/digest.txt is missing"),
    ],
)
def test_changed_key_is_refused_by_both_commands_before_anything_is_written(
    read: Callable[..., CommandResult], tmp_path: Path, change: Callable[[Path], None], reason: str
) -> None:
    assert read(into="first").code == 0
    answers = answer_page(tmp_path, "ann", lambda one: one["y"])
    change(tmp_path)
    for overrides in ((), (f"answers={answers}",)):
        refused = read(*overrides)
        assert refused.code == 2
        assert reason in refused.err
        assert "Put the file back, or remove both" in refused.err
        assert not (tmp_path / "out" / "config.yaml").exists()


def test_answers_before_there_is_a_page_are_refused(read: Callable[..., CommandResult]) -> None:
    refused = read("answers=a.json")
    assert refused.code == 2
    assert "run=attack has no page that anybody could have answered." in refused.err
    assert "Write it with cam-adv study=reading run=attack, without answers." in refused.err


def test_answers_of_another_run_are_refused(
    read: Callable[..., CommandResult], command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
) -> None:
    save_attack(tmp_path / "other")
    assert command(*tiny, "study=reading", "run=other", "hydra.run.dir=1").code == 0
    assert read(into="2").code == 0
    answers = answer_page(tmp_path, "ann", lambda one: one["y"])
    refused = command(*tiny, "study=reading", "run=other", f"answers={answers}", "hydra.run.dir=3")
    assert refused.code == 2
    assert "ann.json answers another page than that of this run" in refused.err
    assert read(f"answers={answers}").code == 0


def test_run_that_is_no_attack_is_refused_before_anything_is_written(
    command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
) -> None:
    tensors = attack_tensors()
    del tensors["judge_reads"]
    save_attack(tmp_path / "early", tensors)
    for folder, reason in (("early", "doesn't tell judge_reads"), ("nowhere", "has no summary.json")):
        refused = command(*tiny, "study=reading", f"run={folder}", "hydra.run.dir=out")
        assert refused.code == 2
        assert f"run={folder} {reason}" in refused.err
        assert not (tmp_path / "out" / "config.yaml").exists()
        assert not list((tmp_path).glob("*/reading*"))
