"""Runs and sweeps that were killed are resumed: what was finished is neither changed nor done again."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import AttackRun, CommandResult, start_and_kill, stored_models
from filelock import FileLock
from safetensors.torch import load_file

from cam_adv.runtime.run_dir import CONFIG
from cam_adv.studies.attack.study import AttackStudy

pytestmark = pytest.mark.slow


def modification_times(folder: Path) -> dict[Path, int]:
    """Of every file in a folder."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def assert_identical_tensors(folder: Path, other: Path) -> None:
    """Of two runs."""
    one, two = (load_file(run / "attack.safetensors") for run in (folder, other))
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


class TestKilled:
    def test_attack_is_resumed_at_the_next_batch(
        self, attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        slow = [*tiny, f"outputs={attack_run.root / 'outputs'}", "attack.batch_size=3", "attack.steps=20"]
        undisturbed = command(*slow, "hydra.run.dir=undisturbed")
        assert undisturbed.code == 0, undisturbed.err
        start_and_kill([*slow, "hydra.run.dir=killed"], tmp_path, "killed/batches/*/batch_00001.safetensors")
        folder = tmp_path / "killed"
        done = modification_times(folder / "batches")
        assert not (folder / "summary.json").exists()
        result = command(*slow, f"resume={folder}")
        assert result.code == 0, result.err
        assert f"The attack goes on: {len(done)} of 4 batches are done." in result.out + result.err
        assert "batch 1 of 4" not in result.err
        assert_identical_tensors(folder, tmp_path / "undisturbed")
        assert not (folder / "batches").exists()
        names = {
            root: {path.relative_to(root) for path in modification_times(root) if ".tfevents." not in path.name}
            for root in (folder, tmp_path / "undisturbed")
        }
        assert names[folder] == names[tmp_path / "undisturbed"]
        assert stored_models(attack_run.root) == attack_run.store

    def test_training_is_resumed_from_its_last_epoch(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        victim = [*tiny, "study=train", "role=victim", "model.victim.training.epochs=40"]
        assert command(*victim, "outputs=undisturbed", "hydra.run.dir=undisturbed/run").code == 0
        killed = [*victim, "outputs=killed"]
        start_and_kill([*killed, "hydra.run.dir=run"], tmp_path, "killed/models/victim-*.training/model.ckpt")
        (training,) = (tmp_path / "killed" / "models").glob("victim-*.training")
        result = command(*killed, "resume=run")
        assert result.code == 0, result.err
        resumed = torch.load(training.with_suffix("") / "model.ckpt", weights_only=True, map_location="cpu")
        (path,) = (tmp_path / "undisturbed" / "models").glob("victim-*/model.ckpt")
        undisturbed = torch.load(path, weights_only=True, map_location="cpu")
        for name, value in undisturbed["state_dict"].items():
            assert torch.equal(value, resumed["state_dict"][name]), name
        assert (resumed["epoch"], resumed["global_step"]) == (undisturbed["epoch"], undisturbed["global_step"])

    def test_sweep_runs_unfinished_jobs_only(
        self, attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str]
    ) -> None:
        outputs = attack_run.root / "outputs"
        sweep = [
            "-m",
            *tiny,
            "selection.images=2",
            "name=killed_sweep",
            f"outputs={outputs}",
            "attack.strength=1,2,3",
        ]
        start_and_kill(sweep, attack_run.root, f"outputs/multirun/killed_sweep/*/1_*/{CONFIG}")
        (folder,) = (outputs / "multirun" / "killed_sweep").iterdir()
        before = {job.name: modification_times(job) for job in folder.glob("*_*")}
        assert sorted(before) == [f"{number}_attack.strength={number + 1}" for number in range(2)]
        unfinished = before.pop("1_attack.strength=2")
        assert all(job / "summary.json" not in unfinished for job in folder.glob("1_*"))

        result = command(*sweep, "resume=latest")
        assert result.code == 0, result.err
        assert result.out.count("Nothing is left to do") == 1
        assert {name: modification_times(folder / name) for name in before} == before
        with (folder / "sweep.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["attack.strength"], row["status"], row["images"]) for row in rows] == [
            (str(strength), "finished", "2") for strength in range(1, 4)
        ]
        assert len(list(folder.glob("*_*"))) == 3
        assert list((outputs / "multirun" / "killed_sweep").iterdir()) == [folder]
        assert stored_models(attack_run.root) == attack_run.store


class TestInterrupted:
    """Inside this process, after the models are trained and before the attack."""

    @pytest.fixture
    def interrupt(
        self, command: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., None]:
        """Runs a command that is interrupted when the study starts."""

        def run(*overrides: str) -> None:
            def stop(*_: object) -> float:
                raise KeyboardInterrupt

            with monkeypatch.context() as patched:
                patched.setattr(AttackStudy, "run", stop)
                with pytest.raises(KeyboardInterrupt):
                    command(*overrides)

        return run

    @pytest.fixture
    def overrides(self, attack_run: AttackRun, tiny: list[str]) -> list[str]:
        """Of a run with the stored models, whose folder is `run`."""
        return [*tiny, f"outputs={attack_run.root / 'outputs'}", "hydra.run.dir=run"]

    def test_retrained_models_are_not_trained_again(
        self, command: Callable[..., CommandResult], interrupt: Callable[..., None], tiny: list[str]
    ) -> None:
        retrain = [*tiny, "retrain=true", "attack.weights.surrogates=0"]
        retrain += ["model.judge.training.epochs=1", "model.generator.training.svae_epochs=1"]
        interrupt(*retrain, "hydra.run.dir=run")
        trained = stored_models(Path.cwd())
        assert len(trained) > 0
        result = command(*retrain, "resume=run")
        assert result.code == 0, result.err
        assert stored_models(Path.cwd()) == trained
        assert Path("run/summary.json").exists()
        again = command(*retrain, "hydra.run.dir=run")
        assert again.err.startswith(f"cam-adv: {Path('run').absolute()} belongs to another run.\n")

    def test_other_config_is_refused_and_other_devices_are_allowed(
        self, command: Callable[..., CommandResult], interrupt: Callable[..., None], overrides: list[str]
    ) -> None:
        interrupt(*overrides)
        result = command(*overrides, "attack.strength=3", "resume=run")
        begun = f"but {Path('run').absolute()} was begun with"
        assert result.err.startswith(f"cam-adv: attack.strength=3, {begun} attack.strength=null.\n")
        assert result.code == 2
        result = command(*overrides, "hardware.precision=bf16-mixed", "resume=run")
        assert f"hardware.precision=bf16-mixed, {begun} hardware.precision=32-true." in result.err
        result = command(*overrides, "hardware=cpu_ddp", "hardware.devices=1", "resume=run")
        assert result.code == 0, result.err

    def test_locked_folder_is_refused(
        self, command: Callable[..., CommandResult], interrupt: Callable[..., None], overrides: list[str]
    ) -> None:
        interrupt(*overrides)
        with FileLock("run/.lock"):
            result = command(*overrides, "resume=run")
        assert result.err.startswith(f"cam-adv: Another process is at work in {Path('run').absolute()}.\n")
        assert result.code == 2
        assert not Path("run/summary.json").exists()

    def test_config_of_the_folder_is_neither_resolved_nor_executed(
        self, command: Callable[..., CommandResult], interrupt: Callable[..., None], overrides: list[str]
    ) -> None:
        interrupt(*overrides)
        config = Path("run").absolute() / CONFIG
        config.write_text(config.read_text().replace("steps: 6", "steps: ${oc.env:HOME}"))
        result = command(*overrides, "resume=run")
        assert result.err.endswith("leave resume out to start a new run.\n")
        assert f"attack.steps=6, but {config.parent} was begun with attack.steps=${{oc.env:HOME}}.\n" in result.err
        config.write_text("!!python/object/apply:os.mkdir [stolen]\n")
        result = command(*overrides, "resume=run")
        assert result.err.startswith(f"cam-adv: {config} can't be read.\n")
        assert not Path("stolen").exists()


def test_resumed_sweep_over_other_values_is_refused_job_by_job(
    attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str]
) -> None:
    quick = [*tiny, f"outputs={attack_run.root / 'outputs'}", "selection.images=2"]
    sweep = ["-m", *quick, "hydra.sweep.dir=sweep"]
    result = command(*sweep, "attack.strength=1,2")
    assert result.code == 0, result.err
    before = {folder: modification_times(folder) for folder in Path("sweep").glob("?_*")}
    result = command(*sweep, "attack.strength=1,3", "resume=sweep")
    assert result.code == 2
    folder = Path("sweep", "1_attack.strength=2")
    assert f"cam-adv: attack.strength=3, but {folder.absolute()} was begun with attack.strength=2." in result.err
    assert {folder: modification_times(folder) for folder in Path("sweep").glob("?_*")} == before
