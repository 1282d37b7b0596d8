"""Sweeps through the launchers and the sweeper of other packages, and configs of the user's own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from conftest import ONE_THREAD, Answer
from joblib.externals.loky.process_executor import TerminatedWorkerError
from omegaconf import OmegaConf
from submitit.core.utils import UncompletedJobError

from cam_adv import study
from cam_adv.errors import UserError
from cam_adv.own_configs import FOLDER
from cam_adv.settings import Settings
from cam_adv.sweep import launchers

REFUSED = "attack.strength=-1 can't be used: it should be greater than or equal to 0."


@dataclass(frozen=True)
class Swept:
    """A sweep that has ended: where it was started, its folder, and what it said."""

    root: Path
    folder: Path
    answer: Answer

    @property
    def rows(self) -> list[dict]:
        return json.loads((self.folder / "sweep.json").read_text())


def write_own(root: Path, name: str, text: str) -> None:
    """A config of the user's own, where the command is started."""
    path = root / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def sweep(cam_adv: Callable[..., Answer], root: Path, name: str, *overrides: str) -> Swept:
    """Run a sweep of this name with the store in `root`."""
    answer = cam_adv(["-m", f"name={name}", *overrides], root)
    (folder,) = (root / "outputs" / "multirun" / name).iterdir()
    return Swept(root, folder, answer)


def assert_others_went_on(swept: Swept) -> None:
    """Jobs of strength -1 were refused, the others have a result; one table and two sentences end the command."""
    assert {(row["attack.strength"], row["status"], row["images"]) for row in swept.rows} == {
        (2, "finished", 12),
        (-1, "failed", None),
    }
    assert {row["reason"] for row in swept.rows} == {None, f"{REFUSED} Set attack.strength to such a value."}
    assert (swept.folder / "sweep.png").exists()
    assert swept.answer.out.count("sweep.json") == 1
    assert swept.answer.err.count(f"cam-adv: {REFUSED}\n         Set attack.strength to such a value.\n") == 1
    assert "Traceback" not in swept.answer.err
    assert swept.answer.code == 2


@pytest.fixture(scope="module")
def joblib_sweep(cam_adv: Callable[..., Answer], tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Two workers that find an empty store, two attacks, one of them the user's own."""
    root = tmp_path_factory.mktemp("launched")
    write_own(root, "attack/mine.yaml", "defaults: [type1, _self_]\nname: mine\nstart_distance: 2.5\n")
    swept = ["attack=type1,mine", "attack.strength=2,-1"]
    return sweep(cam_adv, root, "by_joblib", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *tiny, *swept)


class TestJoblib:
    def test_trains_shared_models_once(self, joblib_sweep: Swept) -> None:
        models = [path.name for path in (joblib_sweep.root / "outputs" / "models").iterdir() if path.is_dir()]
        trained = sorted(name.split("-image_folder-")[0].replace("-", " ") for name in models)
        assert trained == [
            "generator svae_gan",
            "judge plain",
            "judge residual",
            "judge wide_kernel",
            "surrogate dense",
            "surrogate robust_mlp",
            "surrogate strided",
            "victim gap_cnn",
        ]
        # Each training shows its progress from its first moment on.
        assert [joblib_sweep.answer.err.count(f"{title}:   0%") for title in trained] == [1] * 8

    def test_goes_on_when_a_job_fails(self, joblib_sweep: Swept) -> None:
        assert_others_went_on(joblib_sweep)
        assert sorted((row["attack"], row["status"]) for row in joblib_sweep.rows) == [
            ("mine", "failed"),
            ("mine", "finished"),
            ("type1", "failed"),
            ("type1", "finished"),
        ]

    def test_gives_its_workers_the_users_own_configs(self, joblib_sweep: Swept) -> None:
        attacks = [OmegaConf.load(path).attack for path in joblib_sweep.folder.glob("*/config.yaml")]
        assert {attack.name: attack.start_distance for attack in attacks} == {"type1": 4.0, "mine": 2.5}


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (TerminatedWorkerError("exit codes {SIGKILL(-9)}"), "A worker of the sweep was killed"),
        (
            UncompletedJobError("Job 7 (task: 0) with path /x\nhas not produced any output"),
            "A job of the sweep ended",
        ),
        (RuntimeError("of some other kind"), None),
    ],
    ids=["joblib", "submitit", "other"],
)
def test_jobs_that_were_ended_from_outside_are_told_of(error: Exception, what: str | None) -> None:
    words = launchers.in_words(error)
    assert (words is None) if what is None else (words is not None and words[0].startswith(what))


class TestSubmitit:
    def test_runs_jobs_here(self, cam_adv: Callable[..., Answer], tiny: list[str], joblib_sweep: Swept) -> None:
        """With the other sweep's models."""
        jobs = ["hydra/launcher=submitit_local", *tiny, "attack.strength=2,-1"]
        swept = sweep(cam_adv, joblib_sweep.root, "by_submitit", *jobs)
        assert_others_went_on(swept)
        assert len(swept.rows) == 2
        logs = [path.read_text() for path in swept.folder.glob(".submitit/*/*_log.err")]
        assert len(logs) == 2
        assert not any("victim gap_cnn:   0%" in log for log in logs)

    @pytest.fixture
    def slurm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A SLURM that keeps what it is asked for, and refuses it: the file that keeps it."""
        kept = tmp_path / "kept.sh"
        for name, text in {
            "srun": "exit 1",
            "sbatch": f"cp \"$1\" '{kept}'\necho 'sbatch: error: invalid account' >&2\nexit 1",
        }.items():
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
        return kept

    def test_asks_slurm_for_what_was_said(self, command: Callable[..., Answer], tmp_path: Path, slurm: Path) -> None:
        cluster = (
            "defaults: [submitit_slurm, _self_]\n"
            "partition: gpu\ngpus_per_node: 1\ncpus_per_task: 8\nmem_gb: 16\nname: ${name}\n"
        )
        write_own(tmp_path, "hydra/launcher/cluster.yaml", cluster)
        command(
            "-m",
            "hydra/launcher=cluster",
            "hydra.launcher.timeout_min=240",
            "hydra.launcher.array_parallelism=2",
            "name=strengths",
            "attack.strength=1,2,3",
        )
        script = slurm.read_text()
        asked = {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")}
        assert asked >= {
            "--array=0-2%2",
            "--job-name=strengths",
            "--partition=gpu",
            "--time=240",
            "--nodes=1",
            "--ntasks-per-node=1",
            "--gpus-per-node=1",
            "--cpus-per-task=8",
            "--mem=16GB",
        }
        (sweep_folder,) = (tmp_path / "outputs" / "multirun" / "strengths").iterdir()
        *_, last = script.strip().splitlines()
        assert last.startswith("srun ")
        assert last.endswith(f"{sys.executable} -u -m submitit.core._submit {sweep_folder}/.submitit/%j")

    @pytest.mark.usefixtures("slurm")
    def test_tells_why_slurm_refuses(self, command: Callable[..., Answer]) -> None:
        answer = command("-m", "hydra/launcher=submitit_slurm", "attack.strength=1,2")
        assert "cam-adv: SLURM refused the sweep's jobs: sbatch: error: invalid account.\n" in answer.err
        assert answer.code == 2

    def test_tells_that_there_is_no_slurm(
        self, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        answer = command("-m", "hydra/launcher=submitit_slurm", "attack.strength=1,2")
        assert answer.err.startswith("cam-adv: This machine has no SLURM.\n")
        assert answer.code == 2


@pytest.mark.parametrize(
    ("choice", "extra"),
    [
        ("hydra/launcher=joblib", "joblib"),
        ("hydra/launcher=submitit_slurm", "submitit"),
        ("hydra/sweeper=optuna", "optuna"),
        ("attack=ddn", "foolbox"),
    ],
)
def test_a_missing_extra_is_named(tmp_path: Path, choice: str, extra: str) -> None:
    """Before any data is loaded: there is none."""
    missing = "import sys; sys.modules['hydra_plugins'] = sys.modules['foolbox'] = None"
    sweep = [] if choice.startswith("attack=") else ["-m", "seed=0,1"]
    nothing = ["dataset=image_folder", "dataset.root=nowhere"]
    done = subprocess.run(
        [sys.executable, "-c", f"{missing}; from cam_adv.cli import main; main()", *sweep, choice, *nothing],
        cwd=tmp_path,
        env=os.environ | ONE_THREAD,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    what, remedy = done.stderr.strip().splitlines()
    assert what.endswith(" comes with another package.")
    assert remedy.strip() == f"Install it with pip install 'cam-adv[{extra}]'."


def objective(settings: Settings, *_: object) -> float:
    """A success rate that is highest, 0.9, at a learning rate of 0.2; the published walk reaches half of type1's."""
    if settings.attack.learning_rate > 0.7:
        raise UserError("Too fast.", "Go slower.")
    return rate(settings.attack.name, settings.attack.learning_rate)


def rate(attack: str, learning_rate: float) -> float:
    return (0.9 - (learning_rate - 0.2) ** 2) / (1 if attack == "type1" else 2)


class TestOptuna:
    @pytest.fixture
    def search(
        self, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Callable[..., Swept]:
        """A search with `objective` in place of the study."""
        monkeypatch.setattr(study, "run", objective)
        optuna.logging.disable_default_handler()  # it writes to whatever stderr was at first, which pytest closes

        def run(name: str, trials: int, *overrides: str) -> Swept:
            search = ["hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}", "attack=type1,tang2018"]
            answer = command("-m", f"name={name}", *search, *overrides)
            (folder,) = (tmp_path / "outputs" / "multirun" / name).iterdir()
            return Swept(tmp_path, folder, answer)

        return run

    def test_finds_the_strongest_attack(self, search: Callable[..., Swept]) -> None:
        """Of the trials that came to an end; the same seed draws the same ones."""
        found = search("found", 9, "attack.learning_rate=interval(0.01,1)", "seed=3")
        rows = found.rows
        drawn = [(row["attack"], row["attack.learning_rate"]) for row in rows]
        assert [row["folder"].split("_")[0] for row in rows] == [str(number) for number in range(9)]
        assert [row["status"] for row in rows] == ["failed" if speed > 0.7 else "finished" for _, speed in drawn]
        assert {row["reason"] for row in rows} == {None, "Too fast. Go slower."}
        best = max((trial for trial in drawn if trial[1] <= 0.7), key=lambda trial: rate(*trial))
        result = OmegaConf.load(found.folder / "optimization_results.yaml")
        assert (result.best_params["attack"], result.best_params["attack.learning_rate"]) == best
        assert result.best_value == pytest.approx(rate(*best))
        assert found.answer.code == 0, found.answer.err

        again = search("again", 3, "attack.learning_rate=interval(0.01,1)", "seed=3")
        assert [(row["attack"], row["attack.learning_rate"]) for row in again.rows] == drawn[:3]
        other = search("other", 2, "attack.learning_rate=interval(0.01,1)", "seed=4")
        assert other.rows[0]["attack.learning_rate"] != drawn[0][1]

    def test_tells_that_every_trial_failed(self, search: Callable[..., Swept]) -> None:
        found = search("unlucky", 2, "attack.learning_rate=0.8")
        assert {row["reason"] for row in found.rows} == {"Too fast. Go slower."}
        assert "cam-adv: No trial of the search came to an end.\n" in found.answer.err
        assert "Traceback" not in found.answer.err
        assert found.answer.code == 2
