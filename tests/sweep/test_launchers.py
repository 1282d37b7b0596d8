"""Sweeps with launchers and sweepers from other packages, and with the user's own configs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from conftest import ONE_THREAD, CommandResult
from joblib.externals.loky.process_executor import TerminatedWorkerError
from omegaconf import OmegaConf
from submitit.core.utils import UncompletedJobError

from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.config.user_configs import FOLDER
from cam_adv.errors import UserError
from cam_adv.studies.attack.study import AttackStudy
from cam_adv.studies.context import StudyContext
from cam_adv.sweep import launchers

REFUSED = "attack.strength=-1 can't be used: it should be greater than or equal to 0."


@dataclass(frozen=True)
class EndedSweep:
    """A sweep that has ended: its working directory, its folder, and the result of the command."""

    root: Path
    folder: Path
    result: CommandResult

    @property
    def rows(self) -> list[dict]:
        return json.loads((self.folder / "sweep.json").read_text())


def write_user_config(root: Path, name: str, text: str) -> None:
    """Write a config of the user, in the working directory of the command."""
    path = root / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def sweep(command_process: Callable[..., CommandResult], root: Path, name: str, *overrides: str) -> EndedSweep:
    """Run a sweep of this name with the model store in `root`."""
    result = command_process(["-m", f"name={name}", *overrides], root)
    (folder,) = (root / "outputs" / "multirun" / name).iterdir()
    return EndedSweep(root, folder, result)


def assert_other_jobs_finished(swept: EndedSweep) -> None:
    """Jobs of strength -1 were refused, the others have a result; the output has one table and one error message."""
    assert {(row["attack.strength"], row["status"], row["images"]) for row in swept.rows} == {
        (2, "finished", 12),
        (-1, "failed", None),
    }
    assert {row["reason"] for row in swept.rows} == {None, f"{REFUSED} Set attack.strength to such a value."}
    assert (swept.folder / "sweep.png").exists()
    assert swept.result.out.count("sweep.json") == 1
    assert swept.result.err.count(f"cam-adv: {REFUSED}\n         Set attack.strength to such a value.\n") == 1
    assert "Traceback" not in swept.result.err
    assert swept.result.code == 2


@pytest.fixture(scope="module")
def joblib_sweep(
    command_process: Callable[..., CommandResult], tiny: list[str], tmp_path_factory: pytest.TempPathFactory
) -> EndedSweep:
    """Two workers with an empty store, two attacks, one of them in the user's own config."""
    root = tmp_path_factory.mktemp("launched")
    write_user_config(root, "attack/mine.yaml", "defaults: [type1, _self_]\nname: mine\ninit_distance_weight: 2.5\n")
    swept = ["attack=type1,mine", "attack.strength=2,-1"]
    return sweep(
        command_process, root, "by_joblib", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *tiny, *swept
    )


@pytest.mark.slow
class TestJoblib:
    def test_two_workers_train_each_model_once(self, joblib_sweep: EndedSweep) -> None:
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
        # Each training shows its progress from its start.
        assert [joblib_sweep.result.err.count(f"{title}: 0 of ") for title in trained] == [1] * 8

    def test_failed_job_does_not_stop_the_others(self, joblib_sweep: EndedSweep) -> None:
        assert_other_jobs_finished(joblib_sweep)
        assert sorted((row["attack"], row["status"]) for row in joblib_sweep.rows) == [
            ("mine", "failed"),
            ("mine", "finished"),
            ("type1", "failed"),
            ("type1", "finished"),
        ]

    def test_workers_find_user_configs(self, joblib_sweep: EndedSweep) -> None:
        attacks = [OmegaConf.load(path).attack for path in joblib_sweep.folder.glob("*/config.yaml")]
        assert {attack.name: attack.init_distance_weight for attack in attacks} == {"type1": 4.0, "mine": 2.5}


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
def test_explain_error_of_killed_jobs(error: Exception, what: str | None) -> None:
    explanation = launchers.explain_error(error)
    if what is None:
        assert explanation is None
    else:
        assert explanation is not None
        assert explanation[0].startswith(what)


@pytest.mark.slow
class TestSubmitit:
    def test_local_launcher_runs_jobs_with_trained_models(
        self, command_process: Callable[..., CommandResult], tiny: list[str], joblib_sweep: EndedSweep
    ) -> None:
        """With the models of the other sweep."""
        jobs = ["hydra/launcher=submitit_local", *tiny, "attack.strength=2,-1"]
        swept = sweep(command_process, joblib_sweep.root, "by_submitit", *jobs)
        assert_other_jobs_finished(swept)
        assert len(swept.rows) == 2
        logs = [path.read_text() for path in swept.folder.glob(".submitit/*/*_log.err")]
        assert len(logs) == 2
        assert not any("victim gap_cnn:   0%" in log for log in logs)

    @pytest.fixture
    def slurm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A fake SLURM that refuses each request: the file in which it stores the script of the request."""
        stored_script = tmp_path / "stored.sh"
        for name, text in {
            "srun": "exit 1",
            "sbatch": f"cp \"$1\" '{stored_script}'\necho 'sbatch: error: invalid account' >&2\nexit 1",
        }.items():
            (tmp_path / "bin").mkdir(exist_ok=True)
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
        return stored_script

    def test_slurm_request_has_the_resources_of_the_config(
        self, command: Callable[..., CommandResult], tmp_path: Path, slurm: Path
    ) -> None:
        cluster = (
            "defaults: [submitit_slurm, _self_]\n"
            "partition: gpu\ngpus_per_node: 1\ncpus_per_task: 8\nmem_gb: 16\nname: ${name}\n"
        )
        write_user_config(tmp_path, "hydra/launcher/cluster.yaml", cluster)
        command(
            "-m",
            "hydra/launcher=cluster",
            "hydra.launcher.timeout_min=240",
            "hydra.launcher.array_parallelism=2",
            "name=strengths",
            "attack.strength=1,2,3",
        )
        script = slurm.read_text()
        requested = {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")}
        assert requested >= {
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
    def test_refusal_of_slurm_is_reported_with_its_reason(self, command: Callable[..., CommandResult]) -> None:
        result = command("-m", "hydra/launcher=submitit_slurm", "attack.strength=1,2")
        assert "cam-adv: SLURM refused the sweep's jobs: sbatch: error: invalid account.\n" in result.err
        assert result.code == 2

    def test_machine_without_slurm_is_reported(
        self, command: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        result = command("-m", "hydra/launcher=submitit_slurm", "attack.strength=1,2")
        assert result.err.startswith("cam-adv: This machine has no SLURM.\n")
        assert result.code == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "needs", "extra"),
    [
        ("hydra/launcher=joblib", "comes with another package", "joblib"),
        ("hydra/launcher=submitit_slurm", "comes with another package", "submitit"),
        ("hydra/sweeper=optuna", "comes with another package", "optuna"),
        ("attack=deepfool", "needs the package foolbox", "foolbox"),
    ],
)
def test_missing_extra_is_named_in_message(tmp_path: Path, choice: str, needs: str, extra: str) -> None:
    """Before data is loaded: the dataset does not exist."""
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
    assert what.endswith(f" {needs}.")
    assert remedy.strip() == f"Install it with pip install 'cam-adv[{extra}]'."


def objective(study: AttackStudy, context: StudyContext) -> float:
    """A success rate with its maximum, 0.9, at a learning rate of 0.2; tang2018 has half of the rate of type1."""
    attack = context.attack
    assert isinstance(attack, LatentAttack)
    if attack.learning_rate > 0.7:
        raise UserError("Too fast.", "Go slower.")
    return rate(attack.name, attack.learning_rate)


def rate(attack: str, learning_rate: float) -> float:
    return (0.9 - (learning_rate - 0.2) ** 2) / (1 if attack == "type1" else 2)


@pytest.mark.slow
class TestOptuna:
    @pytest.fixture
    def search(
        self, command: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Callable[..., EndedSweep]:
        """Run a search with `objective` in place of the study."""
        monkeypatch.setattr(AttackStudy, "run", objective)
        monkeypatch.setattr(AttackStudy, "roles", lambda study, attack: frozenset())
        optuna.logging.disable_default_handler()  # it writes to the first stderr, which pytest closes

        def run(name: str, trials: int, *overrides: str) -> EndedSweep:
            search = ["hydra/sweeper=optuna", f"hydra.sweeper.n_trials={trials}", "attack=type1,tang2018"]
            result = command("-m", f"name={name}", *search, *overrides)
            (folder,) = (tmp_path / "outputs" / "multirun" / name).iterdir()
            return EndedSweep(tmp_path, folder, result)

        return run

    def test_search_finds_best_trial_and_repeats_with_seed(self, search: Callable[..., EndedSweep]) -> None:
        """The best one of the finished trials; the same seed draws the same trials."""
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
        assert found.result.code == 0, found.result.err

        again = search("again", 3, "attack.learning_rate=interval(0.01,1)", "seed=3")
        assert [(row["attack"], row["attack.learning_rate"]) for row in again.rows] == drawn[:3]
        other = search("other", 2, "attack.learning_rate=interval(0.01,1)", "seed=4")
        assert other.rows[0]["attack.learning_rate"] != drawn[0][1]

    def test_search_over_a_study_without_objective_ends_at_the_first_trial(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        search = ["hydra/sweeper=optuna", "hydra.sweep.dir=sweep", "attack.strength=interval(1,2)"]
        result = command("-m", *tiny, *search, "study=min_perturbation", "dataset.root=nowhere")
        assert result.err.startswith("cam-adv: study=min_perturbation gives no objective, which a search needs.\n")
        assert "Traceback" not in result.err
        assert result.code == 2
        ((status, reason),) = [
            (row["status"], row["reason"]) for row in EndedSweep(tmp_path, Path("sweep"), result).rows
        ]
        assert (status, "gives no objective" in reason) == ("failed", True)

    def test_search_without_finished_trial_is_reported(self, search: Callable[..., EndedSweep]) -> None:
        found = search("failing", 2, "attack.learning_rate=0.8")
        assert {row["reason"] for row in found.rows} == {"Too fast. Go slower."}
        assert "cam-adv: No trial of the search finished.\n" in found.result.err
        assert "Traceback" not in found.result.err
        assert found.result.code == 2
