"""The record of a sweep's job."""

from pathlib import Path

import pytest

from cam_adv.sweep.record import JobRecord


class TestTrack:
    def test_unexpected_error_is_recorded_with_traceback(self, tmp_path: Path) -> None:
        def failing() -> float:
            assert JobRecord.read(tmp_path) == JobRecord(2, ("seed=1",), "unfinished")
            raise ZeroDivisionError("no\n  luck")

        with pytest.raises(ZeroDivisionError):
            JobRecord.of(2, ["seed=1", "resume=latest"]).track(tmp_path, failing)
        assert JobRecord.read(tmp_path) == JobRecord(2, ("seed=1",), "failed", "ZeroDivisionError: no luck")
        assert "in failing" in (tmp_path / "traceback.txt").read_text()

    def test_second_attempt_replaces_failure_of_the_first(self, tmp_path: Path) -> None:
        (tmp_path / "traceback.txt").write_text("no luck")
        failed = JobRecord(2, ("seed=1",), "failed", "ZeroDivisionError: no luck")
        assert failed.track(tmp_path, lambda: 0.25) == 0.25
        assert JobRecord.read(tmp_path) == JobRecord(2, ("seed=1",), "finished", objective=0.25)
        assert not (tmp_path / "traceback.txt").exists()
