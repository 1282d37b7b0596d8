"""The folders of runs, sweeps and jobs: claimed, found again, and left as they were by refused commands."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import AttackRun, CommandResult, stored_models
from preloaded import start, start_command

from cam_adv.runtime.run_dir import acquire_lock, release_lock
from cam_adv.sweep.jobs import read_sweep
from cam_adv.sweep.launchers import ends_with_command
from cam_adv.sweep.record import JobRecord
from cam_adv.sweep.registry import register, write_plan


@pytest.fixture
def run(command: Callable[..., CommandResult]) -> Callable[..., CommandResult]:
    """A command whose study needs neither images nor models, since only its folder is looked at."""
    return lambda *overrides: command(*overrides, "study=doctor", "hardware=cpu")


def jobs(sweep: str) -> list[tuple[str, str]]:
    """The folder and the status of each job."""
    return [(job.folder, job.status) for job in read_sweep(Path(sweep)).jobs]


def contents(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


class TestTaken:
    def test_run_in_a_composed_folder_gets_the_next_free_name(self, run: Callable[..., CommandResult]) -> None:
        for name in ("of_doctor", "of_doctor_2", "of_doctor_3"):
            result = run("hydra.run.dir=of_${study.name}")
            assert result.code == 0, result.err
            assert f"results   {Path(name).absolute()}\n" in result.out
            assert Path(name, "config.yaml").exists()

    def test_second_sweep_into_one_folder_gets_the_next_free_name(self, run: Callable[..., CommandResult]) -> None:
        assert run("-m", "hydra.sweep.dir=sweep", "seed=0,1").code == 0
        before = contents("sweep")
        result = run("-m", "hydra.sweep.dir=sweep", "seed=0,1,2")
        assert result.code == 0, result.err
        assert contents("sweep") == before
        assert jobs("sweep_2") == [(f"{number}_seed={number}", "finished") for number in range(3)]
        assert f"{Path('sweep').absolute()} is taken: this sweep is in {Path('sweep_2').absolute()}." in result.out

    def test_sweep_that_is_named_twice_is_refused_and_left(self, run: Callable[..., CommandResult]) -> None:
        assert run("-m", "hydra.sweep.dir=sweep", "seed=0,1").code == 0
        before = contents("sweep")
        for folder in ("sweep", "new"):
            result = run("-m", "hydra.sweep.dir=" + folder, "resume=other" if folder == "sweep" else "resume=sweep")
            assert result.code == 2
        assert "resume=sweep, but hydra.run.dir or hydra.sweep.dir is" in result.err
        assert contents("sweep") == before
        assert not Path("new").exists()

    def test_run_in_the_folder_of_a_sweep_is_refused(self, run: Callable[..., CommandResult]) -> None:
        assert run("-m", "hydra.sweep.dir=sweep", "seed=0,1").code == 0
        result = run("hydra.run.dir=sweep", "hydra.output_subdir=.hydra")
        assert result.err.startswith(f"cam-adv: {Path('sweep').absolute()} belongs to another run.\n")
        assert not Path("sweep/.hydra").exists()

    def test_resumed_sweep_that_is_still_running_is_refused(
        self, run: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cam_adv.sweep.callback.LOCK_TIMEOUT", 0.1)
        assert run("-m", "hydra.sweep.dir=sweep", "seed=0,1").code == 0
        lock = acquire_lock(Path("sweep"))
        result = run("-m", "resume=sweep", "seed=0,1")
        release_lock(lock)
        assert result.err.startswith(f"cam-adv: Another process is at work in {Path('sweep').absolute()}.\n")
        assert result.code == 2


@pytest.mark.parametrize(
    "overrides",
    [
        ["attack.strength=-1"],
        ["attack.strength=-1", "hydra.run.dir=a/b"],
        ["-m", "attack.strenght=1,2"],
        ["-m", "seed=0,1", "hydra/sweeper=optuna", "hydra.sweeper.storage=sqlite:///search.db"],
        ["-m", "seed=0,1", "hydra/sweeper=optuna", "hydra.sweeper.direction=[minimize,maximize]"],
        ["hydra.output_subdir=."],
    ],
    ids=" ".join,
)
def test_refused_command_leaves_no_folder(
    command: Callable[..., CommandResult], tmp_path: Path, overrides: list[str]
) -> None:
    result = command(*overrides)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


class TestLayout:
    def test_jobs_in_nested_folders_are_reported_and_resumed(self, run: Callable[..., CommandResult]) -> None:
        overrides = ["-m", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${attack.name}/${seed}", "seed=0,1"]
        result = run(*overrides)
        assert result.code == 0, result.err
        assert jobs("sweep") == [("type1/0", "finished"), ("type1/1", "finished")]
        assert run(*overrides, "resume=sweep").out.count("Nothing is left to do") == 2

    def test_jobs_in_one_folder_are_refused_but_the_first(self, run: Callable[..., CommandResult]) -> None:
        result = run("-m", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=one", "seed=0,1")
        assert "sweep/one belongs to another run.\n" in result.err
        assert result.code == 2
        assert jobs("sweep") == [("one", "finished"), ("", "failed")]

    @pytest.mark.parametrize("arguments", [["hydra.run.dir=run"], ["-m", "seed=0,1"]], ids=["run", "sweep"])
    def test_relative_paths_begin_in_the_working_directory_with_chdir(
        self, attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str], arguments: list[str]
    ) -> None:
        Path("outputs").symlink_to(attack_run.root / "outputs")
        data = Path(next(text for text in tiny if text.startswith("dataset.root=")).partition("=")[2])
        Path("images").symlink_to(data)
        train = [*tiny, "dataset.root=images", "study=train", "role=victim", "hydra.job.chdir=true"]
        result = command(*arguments, *train)
        assert result.code == 0, result.err
        assert stored_models(attack_run.root) == attack_run.store

    def test_working_directory_as_the_folder_of_the_run(self, run: Callable[..., CommandResult]) -> None:
        Path("own.json").write_text("{}")
        os.utime("own.json", (0, 0))
        result = run("hydra.run.dir=.")
        assert result.code == 0, result.err
        assert "own.json" not in result.out
        Path("config.yaml").unlink()
        Path("batches").mkdir()
        assert "has no run, but batches" in run("hydra.run.dir=.").err
        assert Path("batches").exists()

    @pytest.mark.parametrize("value", ["0", "1"])
    def test_exit_code_does_not_depend_on_hydra_full_error(
        self, command: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("HYDRA_FULL_ERROR", value)
        result = command("attack.strenght=3")
        assert (result.code, result.err.count("There is no key attack.strenght.")) == (2, 1)


class TestJobs:
    def test_failed_job_does_not_stop_the_next_batch(self, run: Callable[..., CommandResult]) -> None:
        result = run("-m", "hydra.sweep.dir=sweep", "hydra.sweeper.max_batch_size=1", "attack.strength=-1,1,2")
        assert [status for _, status in jobs("sweep")] == ["failed", "finished", "finished"]
        assert result.err.startswith("cam-adv: attack.strength=-1 can't be used")
        assert result.code == 2

    def test_jobs_that_have_not_begun_are_listed(self, tmp_path: Path) -> None:
        (tmp_path / ".jobs").mkdir()
        write_plan(tmp_path, [["seed=0", "resume=latest"], ["seed=1"], ["seed=2"]])
        register(tmp_path, JobRecord(1, ("seed=1",)), tmp_path / "1_seed=1")
        assert [(job.number, job.status, dict(job.values)) for job in read_sweep(tmp_path).jobs] == [
            (0, "not started", {"seed": 0}),
            (1, "unfinished", {"seed": 1}),
            (2, "not started", {"seed": 2}),
        ]

    def test_job_ends_with_the_command_of_its_sweep(self, tmp_path: Path) -> None:
        lock = acquire_lock(tmp_path)
        job = start(_work, tmp_path)
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        time.sleep(0.5)
        assert job.poll() is None
        release_lock(lock)
        assert job.result(5).code == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_signal_ends_all_jobs_of_a_submitit_sweep(
        self, attack_run: AttackRun, tiny: list[str], tmp_path: Path, number: signal.Signals
    ) -> None:
        endless = ["attack.steps=1000000", f"outputs={attack_run.root / 'outputs'}", "hydra.sweep.dir=sweep"]
        sweep = start_command(["-m", *tiny, *endless, "hydra/launcher=submitit_local", "seed=0,1"], tmp_path)
        while len(list(tmp_path.glob("sweep/.jobs/?.json"))) < 2:
            assert sweep.poll() is None, sweep.result().err
            time.sleep(0.05)
        sweep.send_signal(number)
        result = sweep.result(10)
        assert result.code == (-number if number == signal.SIGKILL else 128 + number)
        assert "Traceback" not in result.err
        deadline = time.monotonic() + 5
        while at_work := processes(str(tmp_path)):
            assert time.monotonic() < deadline, at_work
            time.sleep(0.1)


def _work(sweep: Path) -> None:
    with ends_with_command(sweep):
        (sweep / "begun").touch()
        time.sleep(60)


def processes(text: str) -> list[str]:
    """The command lines with this text of processes that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found
