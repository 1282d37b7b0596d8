"""Folders that are claimed by several at once, and those of commands that leave nothing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cam_adv.runtime.claimed_folder import claim_entry, claim_folder, first_missing, remove_empty


def test_claim_folder_gives_each_of_many_threads_its_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim_folder, [tmp_path / "runs" / "now"] * 8))
    assert sorted(path.name for path in claimed) == ["now", *(f"now_{number}" for number in range(2, 9))]


def test_claim_entry_succeeds_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(claim_entry, [tmp_path / "sweep"] * 8, [".jobs"] * 8)) == [False] * 7 + [True]


def test_remove_empty_stops_at_a_folder_that_is_not_empty_or_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "outputs" / "attack" / "now"
    created = first_missing(folder)
    assert created == tmp_path / "outputs"
    folder.mkdir(parents=True)
    (tmp_path / "outputs" / "models").mkdir()
    remove_empty(folder, created)
    assert [path.name for path in tmp_path.rglob("*")] == ["outputs", "models"]
    assert first_missing(tmp_path) is None
