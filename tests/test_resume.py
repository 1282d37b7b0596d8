"""A run that was killed goes on in its own folder: what was finished stays as it was and is done once."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Answer, Study, killed, stored
from filelock import FileLock
from safetensors.torch import load_file

from cam_adv.errors import UserError
from cam_adv.run_folder import CONFIG, job_folder, new_or_resumed
from cam_adv.stages import attack


def as_they_are(folder: Path) -> dict[Path, int]:
    """Every file of a folder, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def assert_equal_bits(folder: Path, other: Path) -> None:
    """The tensors of two runs."""
    one, two = (load_file(run / "attack.safetensors") for run in (folder, other))
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


class TestKilled:
    def test_an_attack_goes_on_with_the_next_batch(
        self, study: Study, command: Callable[..., Answer], tiny: list[str], tmp_path: Path
    ) -> None:
        slow = [*tiny, f"outputs={study.root / 'outputs'}", "attack.batch_size=3"]
        slow += ["attack.steps=20"]
        whole = command(*slow, "hydra.run.dir=whole")
        assert whole.code == 0, whole.err
        killed([*slow, "hydra.run.dir=halved"], tmp_path, "halved/batches/*/batch_00001.safetensors")
        folder = tmp_path / "halved"
        done = as_they_are(folder / "batches")
        assert not (folder / "summary.json").exists()
        answer = command(*slow, f"resume={folder}")
        assert answer.code == 0, answer.err
        assert f"The attack goes on: {len(done)} of 4 batches are done." in answer.out + answer.err
        assert "attack, batch 1 of 4" not in answer.err
        assert_equal_bits(folder, tmp_path / "whole")
        assert not (folder / "batches").exists()
        files = {path.relative_to(folder) for path in as_they_are(folder) if ".tfevents." not in path.name}
        there = as_they_are(tmp_path / "whole")
        assert files == {path.relative_to(tmp_path / "whole") for path in there if ".tfevents." not in path.name}
        assert stored(study.root) == study.store

    def test_a_training_goes_on_from_its_last_epoch(
        self, command: Callable[..., Answer], tiny: list[str], tmp_path: Path
    ) -> None:
        victim = [*tiny, "stage=victim", "model.victim.training.epochs=40"]
        assert command(*victim, "outputs=whole", "hydra.run.dir=whole/run").code == 0
        halved = [*victim, "outputs=halved"]
        killed([*halved, "hydra.run.dir=run"], tmp_path, "halved/models/victim-*.training/model.ckpt")
        (training,) = (tmp_path / "halved" / "models").glob("victim-*.training")
        answer = command(*halved, "resume=run")
        assert answer.code == 0, answer.err
        begun = torch.load(training.with_suffix("") / "model.ckpt", weights_only=True, map_location="cpu")
        (other,) = (tmp_path / "whole" / "models").glob("victim-*/model.ckpt")
        whole = torch.load(other, weights_only=True, map_location="cpu")
        assert all(torch.equal(value, begun["state_dict"][name]) for name, value in whole["state_dict"].items())
        assert (begun["epoch"], begun["global_step"]) == (whole["epoch"], whole["global_step"])

    def test_a_sweep_runs_what_is_not_finished(
        self, study: Study, command: Callable[..., Answer], tiny: list[str]
    ) -> None:
        swept = "attack.strength=1,2,3"
        quick = ["-m", *tiny, "attack.images=2", "name=interrupted"]
        quick += [f"outputs={study.root / 'outputs'}"]
        killed([*quick, swept], study.root, f"outputs/multirun/interrupted/*/1_*/{CONFIG}")
        (sweep,) = (study.root / "outputs" / "multirun" / "interrupted").iterdir()
        before = {folder.name: as_they_are(folder) for folder in sweep.glob("*_*")}
        assert sorted(before) == [f"{number}_attack.strength={number + 1}" for number in range(2)]
        unfinished = before.pop("1_attack.strength=2")
        assert all(folder / "summary.json" not in unfinished for folder in sweep.glob("1_*"))

        answer = command(*quick, swept, "resume=latest")
        assert answer.code == 0, answer.err
        assert answer.out.count("Nothing is left to do") == 1
        assert {name: as_they_are(sweep / name) for name in before} == before
        with (sweep / "sweep.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["attack.strength"], row["status"], row["images"]) for row in rows] == [
            (str(strength), "finished", "2") for strength in range(1, 4)
        ]
        assert len(list(sweep.glob("*_*"))) == 3
        assert list((study.root / "outputs" / "multirun" / "interrupted").iterdir()) == [sweep]
        assert stored(study.root) == study.store


class TestInterrupted:
    """Inside this process, at a chosen moment."""

    @pytest.fixture
    def interrupted(
        self, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., list[str]]:
        """Run a command to the moment at which it would attack."""

        def run(*overrides: str) -> None:
            def stop(*_: object) -> float:
                raise KeyboardInterrupt

            with monkeypatch.context() as patched:
                patched.setattr(attack, "run", stop)
                with pytest.raises(KeyboardInterrupt):
                    command(*overrides)

        return run

    def test_models_that_were_trained_anew_are_not_once_more(
        self, command: Callable[..., Answer], interrupted: Callable[..., None], tiny: list[str]
    ) -> None:
        asked = [*tiny, "retrain=true", "hydra.run.dir=run", "attack.weights.surrogates=0"]
        interrupted(*asked)
        trained = stored(Path.cwd())
        assert len(trained) > 0
        answer = command(*asked[:-2], "attack.weights.surrogates=0", "resume=run")
        assert answer.code == 0, answer.err
        assert stored(Path.cwd()) == trained
        assert Path("run/summary.json").exists()
        again = command(*asked)
        assert again.err.startswith(f"cam-adv: {Path('run').absolute()} belongs to another run.\n")

    def test_another_config_is_refused_and_other_devices_are_not(
        self, command: Callable[..., Answer], interrupted: Callable[..., None], study: Study, tiny: list[str]
    ) -> None:
        there = [*tiny, f"outputs={study.root / 'outputs'}", "hydra.run.dir=run"]
        interrupted(*there)
        answer = command(*there, "attack.strength=3", "resume=run")
        begun = f"but {Path('run').absolute()} was begun with"
        assert answer.err.startswith(f"cam-adv: attack.strength=3, {begun} attack.strength=null.\n")
        assert answer.code == 2
        answer = command(*there, "hardware.precision=bf16-mixed", "resume=run")
        assert f"hardware.precision=bf16-mixed, {begun} hardware.precision=32-true." in answer.err
        answer = command(*there, "hardware=cpu_ddp", "hardware.devices=1", "resume=run")
        assert answer.code == 0, answer.err

    def test_a_run_has_its_folder_for_itself(
        self, command: Callable[..., Answer], interrupted: Callable[..., None], study: Study, tiny: list[str]
    ) -> None:
        there = [*tiny, f"outputs={study.root / 'outputs'}", "hydra.run.dir=run"]
        interrupted(*there)
        with FileLock("run/.lock"):
            answer = command(*there, "resume=run")
        assert answer.err.startswith(f"cam-adv: Another process is at work in {Path('run').absolute()}.\n")
        assert answer.code == 2
        assert not Path("run/summary.json").exists()

    def test_a_hostile_config_is_compared_and_not_obeyed(
        self, command: Callable[..., Answer], interrupted: Callable[..., None], study: Study, tiny: list[str]
    ) -> None:
        there = [*tiny, f"outputs={study.root / 'outputs'}", "hydra.run.dir=run"]
        interrupted(*there)
        config = Path("run").absolute() / CONFIG
        config.write_text(config.read_text().replace("steps: 6", "steps: ${oc.env:HOME}"))
        answer = command(*there, "resume=run")
        assert answer.err.endswith("leave resume out to start a new run.\n")
        assert f"attack.steps=6, but {config.parent} was begun with attack.steps=${{oc.env:HOME}}.\n" in answer.err
        config.write_text("!!python/object/apply:os.mkdir [stolen]\n")
        answer = command(*there, "resume=run")
        assert answer.err.startswith(f"cam-adv: {config} can't be read.\n")
        assert not Path("stolen").exists()


class TestWhichFolder:
    DATE = "2026-01-02_03-04-05"

    def test_latest_is_the_newest_that_holds_a_run(self, tmp_path: Path) -> None:
        for name in ("2025-12-31_23-59-59", "2026-01-01_00-00-00", "zzz"):
            (tmp_path / name).mkdir()
            (tmp_path / name / CONFIG).touch()
        (tmp_path / "2026-01-02_00-00-00").mkdir()  # refused before it began
        assert new_or_resumed("run", "latest", str(tmp_path), self.DATE) == str(tmp_path / "2026-01-01_00-00-00")
        assert new_or_resumed("run", None, str(tmp_path), self.DATE) == str(tmp_path / self.DATE)
        assert new_or_resumed("run", str(tmp_path / "zzz"), "elsewhere", self.DATE) == str(tmp_path / "zzz")

    @pytest.mark.parametrize(
        ("kind", "resume", "what"),
        [
            ("run", "latest", "There is no run in {0} to go on with."),
            ("sweep", "latest", "There is no sweep in {0} to go on with."),
            ("run", "{0}/sweep", "resume={0}/sweep is no folder of a run."),
            ("sweep", "{0}/nowhere", "resume={0}/nowhere is no folder of a sweep."),
        ],
    )
    def test_nothing_to_go_on_with_is_refused(self, tmp_path: Path, kind: str, resume: str, what: str) -> None:
        (tmp_path / "sweep" / "0_job").mkdir(parents=True)
        (tmp_path / "sweep" / "0_job" / "job.json").touch()
        with pytest.raises(UserError) as refused:
            new_or_resumed(kind, resume.format(tmp_path), str(tmp_path), self.DATE)
        assert refused.value.what == what.format(tmp_path)

    def test_is_told_through_the_command_line(self, command: Callable[..., Answer]) -> None:
        answer = command("resume=latest")
        assert answer.err.startswith("cam-adv: There is no run in outputs/main to go on with.\n")
        answer = command("-m", "resume=nowhere", "seed=0,1")
        assert answer.err.startswith("cam-adv: resume=nowhere is no folder of a sweep.\n")
        assert answer.code == 2
        assert not Path("outputs").exists()

    def test_a_job_that_was_begun_keeps_its_folder(self, tmp_path: Path) -> None:
        (tmp_path / "1_attack.strength=4").mkdir()
        assert job_folder(str(tmp_path), 1, "attack.strength=8") == "1_attack.strength=8"
        (tmp_path / "1_attack.strength=4" / CONFIG).touch()
        assert job_folder(str(tmp_path), 1, "attack.strength=8") == "1_attack.strength=4"
        assert job_folder(str(tmp_path), 11, "attack.strength=8") == "11_attack.strength=8"

    def test_a_resumed_sweep_over_other_values_is_refused_job_by_job(
        self, study: Study, command: Callable[..., Answer], tiny: list[str]
    ) -> None:
        quick = [*tiny, f"outputs={study.root / 'outputs'}", "attack.images=2"]
        sweep = ["-m", *quick, "hydra.sweep.dir=sweep"]
        answer = command(*sweep, "attack.strength=1,2")
        assert answer.code == 0, answer.err
        before = {folder: as_they_are(folder) for folder in Path("sweep").glob("?_*")}
        answer = command(*sweep, "attack.strength=1,3", "resume=sweep")
        assert answer.code == 2
        folder = Path("sweep", "1_attack.strength=2")
        assert f"cam-adv: attack.strength=3, but {folder.absolute()} was begun with attack.strength=2." in answer.err
        assert {folder: as_they_are(folder) for folder in Path("sweep").glob("?_*")} == before
