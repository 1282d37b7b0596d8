"""Commands in several processes give the results of a single one, and end with a reason where a process fails."""

import csv
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import AttackRun, run_in_process, stored_models
from preloaded import start_command, start_command_with_torchrun
from safetensors.torch import load_file

from cam_adv.metrics.funnel import QUESTIONS

TWO_CORES = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")

RECORDER = '''
"""Lightning calls `recorders` for every Trainer, and uses the callbacks in each of the Trainer's processes."""
import json, os, signal, uuid
from pathlib import Path
from lightning.pytorch import Callback

class Recorder(Callback):
    def on_predict_start(self, trainer, module):
        if trainer.global_rank == int(os.environ.get("KILLED", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        record = {
            "rank": trainer.global_rank,
            "of": trainer.world_size,
            "process": os.getpid(),
            "batches": list(trainer.predict_dataloaders.numbers),
            "attack": module.attack.attack.model_dump(mode="json"),
        }
        Path(os.environ["RECORDS"], uuid.uuid4().hex + ".json").write_text(json.dumps(record))

def recorders():
    return [Recorder()]
'''


@dataclass(frozen=True)
class RankRecords:
    """The records of each process that attacked."""

    folder: Path

    def of_attacks(self, trace_points: int) -> list[dict]:
        """Of the attacks with this many trace points."""
        records = [json.loads(path.read_text()) for path in self.folder.glob("*.json")]
        return [record for record in records if record["attack"]["trace_points"] == trace_points]


@pytest.fixture
def rank_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RankRecords:
    """Add a callback to every Trainer of the started commands, in every process."""
    package = tmp_path / "package"
    metadata = package / "recorder-1.dist-info"
    metadata.mkdir(parents=True)
    (package / "recorder.py").write_text(RECORDER)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: recorder\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[lightning.pytorch.callbacks_factory]\nown = recorder:recorders\n")
    (tmp_path / "records").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RECORDS", str(tmp_path / "records"))
    return RankRecords(tmp_path / "records")


EXACT = (
    "index",
    "y",
    "target",
    "start",
    "cluster",
    "steps",
    "judge_reads_x_adv",
    *(question for question in QUESTIONS if question != "attempted"),
)


def verdicts(folder: Path) -> list[dict[str, str]]:
    """The columns of `results.csv` that don't depend on the order of floating-point sums."""
    with (folder / "results.csv").open(newline="") as file:
        return [{name: row[name] for name in EXACT} for row in csv.DictReader(file)]


def jobs(sweep: Path) -> list[Path]:
    return sorted(path.parent for path in sweep.glob("*/job.json"))


STRENGTHS = (0.05, 4.0)  # the first radius bounds most of these attacks, the second none
SWEPT = (f"attack.strength={','.join(map(str, STRENGTHS))}",)
TORCHRUN = ("--standalone", "--nproc-per-node=2")
TWO_PROCESSES = ("hardware=cpu_ddp", "hardware.devices=2")


@pytest.fixture(scope="module")
def alone(attack_run: AttackRun, tiny: list[str]) -> list[Path]:
    """The jobs of a sweep in a single process."""
    result = run_in_process(["-m", *tiny, *SWEPT, "hydra.sweep.dir=alone"], attack_run.root)
    assert result.code == 0, result.err
    folders = jobs(attack_run.root / "alone")
    bounded, free = (load_file(folder / "attack.safetensors") for folder in folders)
    # A process with another job's strength would be noticed.
    assert (bounded["x_adv"] - free["x_adv"]).abs().flatten(1).amax(dim=1).median() > 1e-3
    return folders


@TWO_CORES
@pytest.mark.slow
class TestSweepInTwoProcesses:
    @pytest.mark.parametrize("start", ["spawned", "torchrun"])
    def test_gives_the_results_of_one_process(
        self,
        attack_run: AttackRun,
        alone: list[Path],
        tiny: list[str],
        rank_records: RankRecords,
        start: str,
    ) -> None:
        overrides = ["-m", *tiny, *TWO_PROCESSES, *SWEPT, f"name={start}"]
        if start == "spawned":
            result = start_command(overrides, attack_run.root, start_method="forkserver").result()
        else:
            result = start_command_with_torchrun(overrides, attack_run.root, *TORCHRUN).result()
        assert result.code == 0, result.err
        assert result.out.count("victim_accuracy") == 2  # one report for each job, not for each process

        (sweep,) = (attack_run.root / "outputs" / "multirun" / start).iterdir()
        all_jobs = jobs(sweep)
        assert [json.loads((job / "job.json").read_text())["status"] for job in all_jobs] == ["finished"] * 2
        assert len(json.loads((sweep / "sweep.json").read_text())) == 2
        for job, single in zip(all_jobs, alone, strict=True):
            assert verdicts(job) == verdicts(single)
            tensors, expected = load_file(job / "attack.safetensors"), load_file(single / "attack.safetensors")
            for name in ("index", "x", "y", "target"):
                assert torch.equal(tensors[name], expected[name]), name
            assert torch.allclose(tensors["x_adv"], expected["x_adv"], atol=1e-4)
            assert len(tensors["index"].unique()) == len(tensors["index"]) == 12
        assert stored_models(attack_run.root) == attack_run.store
        assert not [path for path in sweep.rglob("*") if path.name.startswith("batch")]

        records = rank_records.of_attacks(trace_points=4)
        for strength in STRENGTHS:
            of_job = [record for record in records if record["attack"]["strength"] == strength]
            assert sorted((record["rank"], record["of"]) for record in of_job) == [(0, 2), (1, 2)]
            assert of_job[0]["attack"] == of_job[1]["attack"]
            assert of_job[0]["process"] != of_job[1]["process"]
            assert sorted(number for record in of_job for number in record["batches"]) == [0, 1, 2]
        assert len(records) == 4

    def test_killed_process_is_reported_and_fails_the_jobs(
        self, attack_run: AttackRun, tiny: list[str], rank_records: RankRecords, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KILLED", "1")
        overrides = ["-m", *tiny, *TWO_PROCESSES, *SWEPT, "name=killed_process"]
        result = start_command_with_torchrun(overrides, attack_run.root, *TORCHRUN).result()
        assert result.code != 0
        assert "cam-adv: Another process of this command has ended before its time." in result.err
        (sweep,) = (attack_run.root / "outputs" / "multirun" / "killed_process").iterdir()
        rows = json.loads((sweep / "sweep.json").read_text())
        assert [row["status"] for row in rows] == ["failed", "failed"]
        assert rows[0]["reason"].startswith("Another process of this command has ended")
        assert "have lost each other" in rows[1]["reason"]


@TWO_CORES
@pytest.mark.slow
def test_wrong_number_of_processes_is_refused_once(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "hardware=cpu_ddp", "hardware.devices=1"]
    result = start_command_with_torchrun(overrides, tmp_path, *TORCHRUN).result()
    assert result.code != 0
    assert result.err.count("2 processes were started on 1 machines, but hardware.devices=1") == 1
    assert "Set hardware.devices=2 and hardware.nodes=1" in result.err
    assert not (tmp_path / "outputs" / "models").exists()


@pytest.fixture(scope="module")
def trained(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Overrides of two trainings, one of a network with batch norm, and the store of a single process."""
    overrides = [override for override in tiny if "victim.network.widths" not in override]
    overrides += ["study=train", "role=victim", "model.victim.training.epochs=2"]
    root = tmp_path_factory.mktemp("trained")
    result = run_in_process(["-m", *overrides, "model/victim=mlp,gap_cnn", "outputs=alone"], root)
    assert result.code == 0, result.err
    return overrides, root / "alone" / "models"


@TWO_CORES
@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawned", "two machines"])
def test_training_in_two_processes_gives_the_weights_of_one(
    trained: tuple[list[str], Path], tmp_path: Path, start: str
) -> None:
    """The gradients of two halves average to the batch's gradient. With batch statistics, one process trains."""
    both, alone = [*trained[0], "hardware=cpu_ddp", "outputs=shared"], trained[1]
    mlp, networks = [*both, "model/victim=mlp"], {"mlp": 1e-4}
    if start == "spawned":
        networks["gap_cnn"] = 0.0
        shared = [start_command([*mlp, "hardware.devices=2"], tmp_path).result()]
        shared += [run_in_process([*both, "model/victim=gap_cnn", "hardware.devices=2"], tmp_path)]
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        rendezvous = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"]
        mlp += ["hardware.nodes=2", "hardware.devices=1"]
        machines = [
            start_command_with_torchrun(mlp, tmp_path, *rendezvous, f"--node-rank={number}") for number in (0, 1)
        ]
        shared = [machine.result() for machine in machines]
        assert [result.out.count("models, on test images") for result in shared] == [1, 0]
    assert all(result.code == 0 for result in shared), [result.err for result in shared]
    for network, rounding in networks.items():
        one, two = (
            torch.load(next(models.glob(f"victim-{network}-*/model.ckpt")), weights_only=True)
            for models in (alone, tmp_path / "shared" / "models")
        )
        assert one["global_step"] == two["global_step"] > 1
        assert any("running_var" in name for name in one["state_dict"]) == (network == "gap_cnn")
        for name, value in one["state_dict"].items():
            assert torch.allclose(value, two["state_dict"][name], rtol=0, atol=rounding), name
