"""Which folder a run, a sweep or a job gets, new or resumed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CommandResult

from cam_adv.errors import UserError
from cam_adv.runtime.run_dir import CONFIG, is_finished, job_folder, resolve_output_folder

DATE = "2026-01-02_03-04-05"


class TestResolveOutputFolder:
    def test_latest_is_the_newest_dated_folder_with_a_run(self, tmp_path: Path) -> None:
        for name in ("2025-12-31_23-59-59", "2026-01-01_00-00-00", "zzz"):
            (tmp_path / name).mkdir()
            (tmp_path / name / CONFIG).touch()
        (tmp_path / "2026-01-02_00-00-00").mkdir()  # of a run that was refused
        assert resolve_output_folder("run", "latest", str(tmp_path), DATE) == str(tmp_path / "2026-01-01_00-00-00")

    def test_latest_of_one_second_is_the_one_with_the_highest_number(self, tmp_path: Path) -> None:
        for number in ("", "_2", "_10", "_x"):
            (tmp_path / f"2026-01-01_00-00-00{number}").mkdir()
            (tmp_path / f"2026-01-01_00-00-00{number}" / CONFIG).touch()
        assert resolve_output_folder("run", "latest", str(tmp_path), DATE) == str(tmp_path / "2026-01-01_00-00-00_10")

    def test_no_resume_gives_a_new_dated_folder(self, tmp_path: Path) -> None:
        assert resolve_output_folder("run", None, str(tmp_path), DATE) == str(tmp_path / DATE)

    def test_resumed_folder_may_be_anywhere(self, tmp_path: Path) -> None:
        (tmp_path / "zzz").mkdir()
        (tmp_path / "zzz" / CONFIG).touch()
        assert resolve_output_folder("run", str(tmp_path / "zzz"), "elsewhere", DATE) == str(tmp_path / "zzz")

    @pytest.mark.parametrize(
        ("kind", "resume", "what"),
        [
            ("run", "latest", "There is no run in {0} to go on with."),
            ("sweep", "latest", "There is no sweep in {0} to go on with."),
            ("run", "{0}/sweep", "resume={0}/sweep is no folder of a run."),
            ("sweep", "{0}/nowhere", "resume={0}/nowhere is no folder of a sweep."),
        ],
    )
    def test_nothing_to_resume_raises(self, tmp_path: Path, kind: str, resume: str, what: str) -> None:
        (tmp_path / "sweep").mkdir()
        (tmp_path / "sweep" / "multirun.yaml").touch()
        with pytest.raises(UserError) as refusal:
            resolve_output_folder(kind, resume.format(tmp_path), str(tmp_path), DATE)
        assert refusal.value.what == what.format(tmp_path)

    def test_command_line_reports_nothing_to_resume(self, command: Callable[..., CommandResult]) -> None:
        result = command("resume=latest")
        assert result.err.startswith("cam-adv: There is no run in outputs/attack to go on with.\n")
        result = command("-m", "resume=nowhere", "seed=0,1")
        assert result.err.startswith("cam-adv: resume=nowhere is no folder of a sweep.\n")
        assert result.code == 2
        assert not Path("outputs").exists()


def test_job_folder_started_job_keeps_its_folder(tmp_path: Path) -> None:
    (tmp_path / "1_attack.strength=4").mkdir()
    assert job_folder(str(tmp_path), 1, "attack.strength=8") == "1_attack.strength=8"
    (tmp_path / "1_attack.strength=4" / CONFIG).touch()
    assert job_folder(str(tmp_path), 1, "attack.strength=8") == "1_attack.strength=4"
    assert job_folder(str(tmp_path), 11, "attack.strength=8") == "11_attack.strength=8"


@pytest.mark.parametrize(
    ("study", "file", "finished"),
    [
        ("attack", "summary.json", True),
        ("attack_comparison", "attack_comparison.json", True),
        ("attack_comparison", "detectors.json", False),
        ("train", None, False),
    ],
)
def test_is_finished_needs_the_result_of_the_study(
    tmp_path: Path, study: str, file: str | None, finished: bool
) -> None:
    (tmp_path / CONFIG).write_text(f"study:\n  name: {study}\n")
    if file is not None:
        (tmp_path / file).touch()
    assert is_finished(tmp_path) == finished
