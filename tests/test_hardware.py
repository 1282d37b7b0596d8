"""What `hardware` changes and what it leaves alone: the same images, each once, the same verdicts, on any of it."""

import csv
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ONE_THREAD, Answer, Study, called, compose, stored
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from safetensors.torch import load_file
from torch import nn

from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.module import AttackModule
from cam_adv.config import settings_from
from cam_adv.data.module import ImageDataModule
from cam_adv.data.sources import image_folder
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.evaluation import opinions
from cam_adv.explanation.cam import find_gap_linear
from cam_adv.hardware import claims, devices, processes
from cam_adv.hardware.check import check_hardware
from cam_adv.networks.ensemble import Ensemble
from cam_adv.networks.svae import SVAE
from cam_adv.settings import HardwareSettings, Settings
from cam_adv.toolbox import load
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.compilation import Compilation
from cam_adv.training.trainer import make_trainer, with_devices

TWO_CORES = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
GPUS = torch.cuda.device_count()
CONF = Path(__file__).parents[1] / "conf" / "hardware"

WITNESS = '''
"""Lightning calls `witnesses` for every Trainer, and takes what it returns into each of the Trainer's processes."""
import json, os, signal, uuid
from pathlib import Path
from lightning.pytorch import Callback

class Witness(Callback):
    def on_predict_start(self, trainer, module):
        if trainer.global_rank == int(os.environ.get("KILLED", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        seen = {
            "rank": trainer.global_rank,
            "of": trainer.world_size,
            "process": os.getpid(),
            "batches": list(trainer.predict_dataloaders.numbers),
            "attack": module.attack.settings.model_dump(mode="json"),
        }
        Path(os.environ["WITNESSES"], uuid.uuid4().hex + ".json").write_text(json.dumps(seen))

def witnesses():
    return [Witness()]
'''


def hardware(*overrides: str) -> HardwareSettings:
    return settings_from(compose(overrides)).hardware


@dataclass(frozen=True)
class Witnesses:
    """What was seen from within each process that attacked."""

    folder: Path

    def reports(self, frames: int) -> list[dict]:
        """Of attacks that record so many frames."""
        seen = [json.loads(path.read_text()) for path in self.folder.glob("*.json")]
        return [report for report in seen if report["attack"]["frames"] == frames]


@pytest.fixture
def witnesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Witnesses:
    """Put a callback into every Trainer of the commands that are started, in whichever process it is."""
    package = tmp_path / "package"
    metadata = package / "witness-1.dist-info"
    metadata.mkdir(parents=True)
    (package / "witness.py").write_text(WITNESS)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[lightning.pytorch.callbacks_factory]\nwitness = witness:witnesses\n")
    (tmp_path / "seen").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("WITNESSES", str(tmp_path / "seen"))
    return Witnesses(tmp_path / "seen")


def torchrun(overrides: Sequence[str], folder: Path, *how: str) -> subprocess.Popen:
    """`cam-adv` in several processes that torchrun starts."""
    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *how, "-m", "cam_adv", *overrides],
        cwd=folder,
        env=environment | ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answers(*started: subprocess.Popen) -> list[Answer]:
    """What commands leave, once all have ended."""
    texts = [command.communicate(timeout=300) for command in started]
    return [Answer(command.returncode, *text) for command, text in zip(started, texts, strict=True)]


def verdicts(folder: Path) -> list[dict[str, str]]:
    """What `results.csv` says of each image, without the figures that another order of sums may round otherwise."""
    exact = ("index", "y", "target", "start", "steps", "kept", "changed", "success", "success_confident")
    with (folder / "results.csv").open(newline="") as file:
        return [{name: row[name] for name in exact} for row in csv.DictReader(file)]


def jobs(sweep: Path) -> list[Path]:
    return sorted(path.parent for path in sweep.glob("*/job.json"))


SWEPT = ("attack.strength=1,4",)  # 1 bounds most of these walks, 4 none
TWO = ("hardware=cpu_ddp", "hardware.devices=2")


@pytest.fixture(scope="module")
def alone(study: Study, tiny: list[str]) -> list[Path]:
    """The jobs of a sweep in a single process."""
    answer = called(["-m", *tiny, *SWEPT, "hydra.sweep.dir=alone"], study.root)
    assert answer.code == 0, answer.err
    folders = jobs(study.root / "alone")
    assert verdicts(folders[0]) != verdicts(folders[1])  # a process with another job's strength would be noticed
    return folders


@TWO_CORES
class TestSweepOnTwoDevices:
    @pytest.mark.parametrize("how", ["spawned", "torchrun"])
    def test_is_the_sweep_on_one(
        self,
        study: Study,
        alone: list[Path],
        cam_adv: Callable[..., Answer],
        tiny: list[str],
        witnesses: Witnesses,
        how: str,
    ) -> None:
        overrides = ["-m", *tiny, *TWO, *SWEPT, f"name={how}"]
        if how == "spawned":
            answer = cam_adv(overrides, study.root)
        else:
            (answer,) = answers(torchrun(overrides, study.root, "--standalone", "--nproc-per-node=2"))
        assert answer.code == 0, answer.err
        assert answer.out.count("victim_accuracy") == 2  # one report for each job, not for each process

        (sweep,) = (study.root / "outputs" / "multirun" / how).iterdir()
        together = jobs(sweep)
        assert [json.loads((job / "job.json").read_text())["status"] for job in together] == ["finished"] * 2
        assert len(json.loads((sweep / "sweep.json").read_text())) == 2
        for job, single in zip(together, alone, strict=True):
            assert verdicts(job) == verdicts(single)
            tensors, expected = load_file(job / "attack.safetensors"), load_file(single / "attack.safetensors")
            for name in ("index", "x", "y", "target"):
                assert torch.equal(tensors[name], expected[name]), name
            assert torch.allclose(tensors["x_adv"], expected["x_adv"], atol=1e-4)
            assert len(tensors["index"].unique()) == len(tensors["index"]) == 12
        assert stored(study.root) == study.store
        assert not [path for path in sweep.rglob("*") if path.name.startswith("batch")]

        reports = witnesses.reports(frames=4)
        for strength in (1.0, 4.0):
            of_job = [report for report in reports if report["attack"]["strength"] == strength]
            assert sorted((report["rank"], report["of"]) for report in of_job) == [(0, 2), (1, 2)]
            assert of_job[0]["attack"] == of_job[1]["attack"]
            assert of_job[0]["process"] != of_job[1]["process"]
            assert sorted(number for report in of_job for number in report["batches"]) == [0, 1, 2]
        assert len(reports) == 4

    def test_ends_soon_and_in_words_when_a_process_is_killed(
        self, study: Study, tiny: list[str], witnesses: Witnesses, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KILLED", "1")
        overrides = ["-m", *tiny, *TWO, *SWEPT, "name=killed"]
        (answer,) = answers(torchrun(overrides, study.root, "--standalone", "--nproc-per-node=2"))
        assert answer.code != 0
        assert "cam-adv: Another process of this command has ended before its time." in answer.err
        (sweep,) = (study.root / "outputs" / "multirun" / "killed").iterdir()
        rows = json.loads((sweep / "sweep.json").read_text())
        assert [row["status"] for row in rows] == ["failed", "failed"]
        assert rows[0]["reason"].startswith("Another process of this command has ended")
        assert "have lost each other" in rows[1]["reason"]


@TWO_CORES
def test_a_refusal_ends_every_process(tiny: list[str], tmp_path: Path) -> None:
    overrides = [*tiny, "hardware=cpu_ddp", "hardware.devices=1"]
    (answer,) = answers(torchrun(overrides, tmp_path, "--standalone", "--nproc-per-node=2"))
    assert answer.code != 0
    assert answer.err.count("2 processes were started on 1 machines, but hardware.devices=1") == 1
    assert "Set hardware.devices=2 and hardware.nodes=1" in answer.err
    assert not (tmp_path / "outputs" / "models").exists()


@pytest.fixture(scope="module")
def trained(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The overrides of two trainings, one with batch norm, and the store that one process left."""
    plain = [override for override in tiny if "victim.network.widths" not in override]
    plain += ["stage=victim", "model.victim.training.epochs=2"]
    root = tmp_path_factory.mktemp("trained")
    answer = called(["-m", *plain, "model/victim=mlp,gap_cnn", "outputs=alone"], root)
    assert answer.code == 0, answer.err
    return plain, root / "alone" / "models"


@TWO_CORES
@pytest.mark.parametrize("how", ["spawned", "two machines"])
def test_two_processes_train_what_one_trains(
    trained: tuple[list[str], Path], cam_adv: Callable[..., Answer], tmp_path: Path, how: str
) -> None:
    """Gradients of two halves have the whole batch's mean. Its statistics can't be halved: one process trains."""
    plain, alone = [*trained[0], "hardware=cpu_ddp", "outputs=shared"], trained[1]
    mlp, networks = [*plain, "model/victim=mlp"], {"mlp": 1e-4}
    if how == "spawned":
        networks["gap_cnn"] = 0.0
        shared = [cam_adv([*mlp, "hardware.devices=2"], tmp_path)]
        shared += [called([*plain, "model/victim=gap_cnn", "hardware.devices=2"], tmp_path)]
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        meet = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"]
        mlp += ["hardware.nodes=2", "hardware.devices=1"]
        shared = answers(*[torchrun(mlp, tmp_path, *meet, f"--node-rank={number}") for number in (0, 1)])
        assert [answer.out.count("victim mlp") for answer in shared] == [1, 0]
    assert all(answer.code == 0 for answer in shared), [answer.err for answer in shared]
    for network, rounding in networks.items():
        one, two = (
            torch.load(next(models.glob(f"victim-{network}-*/model.ckpt")), weights_only=True)
            for models in (alone, tmp_path / "shared" / "models")
        )
        assert one["global_step"] == two["global_step"] > 1
        assert any("running_var" in name for name in one["state_dict"]) == (network == "gap_cnn")
        for name, value in one["state_dict"].items():
            assert torch.allclose(value, two["state_dict"][name], rtol=0, atol=rounding), name


class TestMeaning:
    @pytest.mark.parametrize("choice", sorted(path.stem for path in CONF.glob("*.yaml")))
    def test_every_choice_has_the_same_keys(self, choice: str) -> None:
        assert list(compose([f"hardware={choice}"]).hardware) == list(HardwareSettings.model_fields)

    def test_one_device_needs_no_strategy(self) -> None:
        trainers = [
            make_trainer(hardware(*words), logger=False)
            for words in (["hardware=cpu"], [*TWO[:1], "hardware.devices=1"])
        ]
        for trainer in trainers:
            assert isinstance(trainer.strategy, SingleDeviceStrategy)
            assert (trainer.world_size, trainer.global_rank) == (1, 0)

    @TWO_CORES
    def test_several_devices_are_spawned_and_leave_no_trace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The port of an earlier job's processes is not handed on."""
        monkeypatch.setenv("MASTER_PORT", "1")
        trainer = make_trainer(hardware(*TWO), logger=False)
        assert isinstance(trainer.strategy, DDPStrategy)
        assert trainer.strategy.launcher._start_method == "spawn"
        assert trainer.world_size == 2
        assert trainer.strategy.cluster_environment.main_port > 1

    def test_no_more_devices_than_work(self) -> None:
        assert with_devices(hardware("hardware=cpu_ddp", "hardware.devices=8"), 3).devices == 3
        assert with_devices(hardware("hardware=cpu_ddp", "hardware.devices=2"), 3).devices == 2

    @pytest.mark.parametrize("workers", [2, 7])
    def test_workers_read_the_same_images_in_the_same_order(self, pictures: Path, workers: int) -> None:
        one, _, _ = image_folder(str(pictures), 16, gray=True, workers=1)
        several, _, _ = image_folder(str(pictures), 16, gray=True, workers=workers)
        assert torch.equal(one.images, several.images)
        assert torch.equal(one.labels, several.labels)

    def test_workers_are_threads_of_the_source(
        self, settings: Settings, pictures: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Three readers that wait for each other get through only if there are three of them."""
        assert settings.dataset.source["workers"] == settings.hardware.workers
        meeting = threading.Barrier(3, timeout=30)

        def read(file: Path, size: int, gray: bool) -> torch.Tensor:
            meeting.wait()
            return torch.zeros(1, size, size, dtype=torch.uint8)

        monkeypatch.setattr("cam_adv.data.sources._read_picture", read)
        assert len(image_folder(str(pictures), 4, gray=True, workers=3)[0]) == 120


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with four GPUs, as far as one can ask it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"GPU-{'abcd'[number]}")
    )
    monkeypatch.setattr(claims, "claims_folder", lambda: tmp_path / "claims")
    monkeypatch.setattr(devices, "claims_folder", lambda: tmp_path / "claims")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


REFUSED = [
    (["hardware=free_gpu"], "hardware.accelerator=gpu, but PyTorch sees no GPU"),
    (["hardware=slurm"], "hardware.accelerator=gpu, but PyTorch sees no GPU"),
    (["hardware.placement=free"], "hardware.placement=free chooses a GPU, but this run is on the CPU"),
    (["hardware.placement=2"], "hardware.placement=2 chooses a GPU, but this run is on the CPU"),
    (["hardware.precision=16-mixed"], "hardware.precision=16-mixed needs a GPU"),
    (["hardware.nodes=2"], "hardware.devices=1 and hardware.nodes=2 need a strategy"),
    (["hardware=cpu_ddp", "hardware.devices=1", "hardware.nodes=2"], "hardware.nodes=2, but nobody has started"),
]

REFUSED_WITH_FOUR_GPUS = [
    (["hardware=multi_gpu", "hardware.devices=5"], "hardware.devices=5, but this machine has 4 GPUs"),
    (["hardware.placement=4"], "hardware.placement=4, but this machine has 4 GPUs"),
    (["hardware=free_gpu", "hardware.devices=2"], "need a strategy for several processes"),
    (
        ["hardware=multi_gpu", "hardware.placement=free"],
        "hardware.placement=free chooses one GPU, but hardware.devices=2",
    ),
    (["hardware=multi_gpu", "hardware.placement=1"], "hardware.placement=1 chooses one GPU, but hardware.devices=2"),
]


class TestIsRefused:
    @pytest.mark.parametrize(("overrides", "told"), REFUSED, ids=lambda part: "")
    def test_what_is_not_there(self, no_gpu: None, overrides: list[str], told: str) -> None:
        with pytest.raises(UserError, match=told):
            check_hardware(hardware(*overrides))

    @pytest.mark.parametrize(("overrides", "told"), REFUSED_WITH_FOUR_GPUS, ids=lambda part: "")
    def test_what_four_gpus_can_not_do(self, four_gpus: None, overrides: list[str], told: str) -> None:
        with pytest.raises(UserError, match=told):
            check_hardware(hardware(*overrides))

    def test_nothing_that_can_be_done(self, four_gpus: None) -> None:
        for choice in ("auto", "gpu", "free_gpu", "multi_gpu"):
            check_hardware(hardware(f"hardware={choice}"))
        check_hardware(hardware("hardware=multi_gpu", "hardware.devices=1", "hardware.placement=3"))

    def test_compiling_without_a_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("CXX", raising=False)
        with pytest.raises(UserError, match=r"hardware\.compile=true needs a C\+\+ compiler"):
            check_hardware(hardware("hardware=cpu", "hardware.compile=true"))

    def test_compiling_a_victim_whose_map_is_held(self) -> None:
        with pytest.raises(UserError, match="holds a map that is caught inside the victim"):
            hardware("hardware.compile=true", "attack=type1_cam")

    def test_a_gpu_that_a_notebook_would_never_give_back(self, four_gpus: None) -> None:
        with pytest.raises(UserError, match=r"hardware\.placement=free is for a command"):
            load("hardware=free_gpu")


SLURM = {
    "SLURM_JOB_ID": "71234",
    "SLURM_JOB_NAME": "attack",
    "SLURM_NODELIST": "node[3-4]",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
FOUR_TASKS = ("hardware=cpu_ddp", "hardware.devices=2", "hardware.nodes=2")


class TestSlurm:
    """What SLURM's variables decide; SLURM itself has not run this."""

    @pytest.fixture
    def task(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        """The last of two tasks on the second of two machines."""
        for name, value in SLURM.items():
            monkeypatch.setenv(name, value)
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)  # put back afterwards, whatever Lightning writes there
        return monkeypatch

    def test_a_task_knows_its_place(self, task: pytest.MonkeyPatch) -> None:
        place = processes.environment()
        assert isinstance(place, SLURMEnvironment)
        assert (place.global_rank(), place.local_rank(), place.node_rank(), place.world_size()) == (3, 1, 1, 4)
        assert (place.main_address, place.main_port) == ("node3", 15000 + 1234)
        assert not place.auto_requeue  # Lightning would save and load checkpoints that this package knows nothing of

    @TWO_CORES
    def test_a_trainer_takes_its_place(self, task: pytest.MonkeyPatch) -> None:
        company = SimpleNamespace(environment=processes.environment(), check=lambda: None)
        task.setattr(processes, "_company", company)
        check_hardware(hardware(*FOUR_TASKS))
        assert with_devices(hardware(*FOUR_TASKS), 1).processes == 4
        trainer = make_trainer(hardware(*FOUR_TASKS), logger=False)
        assert (trainer.global_rank, trainer.local_rank, trainer.world_size, trainer.num_nodes) == (3, 1, 4, 2)
        assert trainer.strategy.launcher.cluster_environment.creates_processes_externally

    @TWO_CORES
    @pytest.mark.parametrize(("devices", "nodes"), [(1, 2), (2, 1), (1, 4), (2, 3)])
    def test_another_number_of_tasks_is_refused(self, task: pytest.MonkeyPatch, devices: int, nodes: int) -> None:
        wrong = hardware("hardware=cpu_ddp", f"hardware.devices={devices}", f"hardware.nodes={nodes}")
        with pytest.raises(UserError, match="4 processes were started on 2 machines") as refusal:
            check_hardware(wrong)
        assert refusal.value.remedy.startswith("Set hardware.devices=2 and hardware.nodes=2")

    @TWO_CORES
    def test_tasks_that_would_each_run_the_job_are_refused(self, task: pytest.MonkeyPatch) -> None:
        """A launcher's job: nobody has brought its tasks together."""
        with pytest.raises(UserError, match="4 processes were started for one job of a sweep"):
            check_hardware(hardware(*FOUR_TASKS))

    def test_tasks_without_a_number_for_each_machine_are_refused(self, task: pytest.MonkeyPatch) -> None:
        task.delenv("SLURM_NTASKS_PER_NODE")
        with pytest.raises(UserError, match="SLURM starts 4 processes") as refusal:
            processes.environment()
        assert "--ntasks-per-node" in refusal.value.remedy

    @TWO_CORES
    def test_one_task_starts_its_own_processes(self, task: pytest.MonkeyPatch) -> None:
        for name, value in (
            ("SLURM_NTASKS", "1"),
            ("SLURM_NNODES", "1"),
            ("SLURM_PROCID", "0"),
            ("SLURM_LOCALID", "0"),
        ):
            task.setenv(name, value)
        assert processes.environment() is None
        assert processes.join() is None
        check_hardware(hardware(*TWO))
        trainer = make_trainer(hardware(*TWO), logger=False)
        assert trainer.world_size == 2
        assert trainer.strategy.launcher._start_method == "spawn"

    def test_an_interactive_shell_starts_nothing(self, task: pytest.MonkeyPatch) -> None:
        task.setenv("SLURM_JOB_NAME", "bash")
        assert processes.environment() is None


HOLD = """
import sys, time
from pathlib import Path
from cam_adv.hardware.claims import claimed
with claimed(["a", "b"], Path(sys.argv[1])) as number:
    print(number, flush=True)
    time.sleep(600)
"""


class TestFreeDevice:
    def test_is_one_that_nobody_has(self, tmp_path: Path) -> None:
        with claims.claimed(["a", "b", "c"], tmp_path) as first, claims.claimed(["a", "b", "c"], tmp_path) as second:
            assert (first, second) == (0, 1)
        with claims.claimed(["a", "b", "c"], tmp_path) as again:
            assert again == 0

    def test_is_told_by_its_name_not_by_its_number(self, tmp_path: Path) -> None:
        """Under CUDA_VISIBLE_DEVICES=1 a process calls 0 what another calls 1."""
        with claims.claimed(["a", "b"], tmp_path), claims.claimed(["b", "a"], tmp_path) as number:
            assert number == 0
        with claims.claimed(["b"], tmp_path), claims.claimed(["b", "a"], tmp_path) as number:
            assert number == 1

    def test_is_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        looks = threading.Semaphore(0)
        monkeypatch.setattr(claims.time, "sleep", lambda seconds: looks.release())
        got: list[int] = []

        def wait() -> None:
            with claims.claimed(["a", "b"], tmp_path) as number:
                got.append(number)

        with caplog.at_level(logging.INFO), claims.claimed(["a", "b"], tmp_path):
            with claims.claimed(["a", "b"], tmp_path):
                waiting = threading.Thread(target=wait)
                waiting.start()
                assert looks.acquire(timeout=30)
                assert looks.acquire(timeout=30)  # it has looked twice, and found both taken
                assert got == []
            waiting.join(timeout=30)
            assert got == [1]
        assert [record.getMessage() for record in caplog.records if "taken" in record.getMessage()] == [
            "All 2 devices are taken: waiting for one."
        ]

    def test_comes_back_from_a_process_that_was_killed(self, tmp_path: Path) -> None:
        holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout.readline() == "0\n"
            with claims.claimed(["a", "b"], tmp_path) as number:
                assert number == 1
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        with claims.claimed(["a", "b"], tmp_path) as number:
            assert number == 0

    def test_is_the_device_of_everything(self, four_gpus: None) -> None:
        with devices.placed(hardware("hardware=free_gpu")) as first:
            with devices.placed(hardware("hardware=free_gpu")) as second:
                assert devices.main_device(first) == torch.device("cuda", 0)
                assert devices.main_device(second) == torch.device("cuda", 1)
                assert second.model_copy(update={"placement": "free"}) == hardware("hardware=free_gpu")
            with devices.placed(hardware("hardware=gpu", "hardware.placement=3")) as named:
                assert devices.main_device(named) == torch.device("cuda", 3)
        assert devices.main_device(hardware("hardware=gpu")) == torch.device("cuda", 0)
        assert devices.main_device(hardware("hardware=cpu")) == torch.device("cpu")

    def test_is_named_before_it_is_used(self, four_gpus: None) -> None:
        with pytest.raises(ValueError, match="no device was claimed"):
            devices.main_device(hardware("hardware=free_gpu"))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
class TestCompiled:
    @pytest.fixture
    def network(self) -> nn.Sequential:
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.ReLU())
        return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def test_a_training_is_the_same_training(
        self, network: nn.Sequential, splits: ImageSplits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hooks that catch maps see a network that was compiled, as the names of its weights don't show it."""
        trained = []
        start = {name: value.clone() for name, value in network.state_dict().items()}
        compiled: list[nn.Module] = []
        plain_call = nn.Module.compile
        monkeypatch.setattr(
            nn.Module, "compile", lambda self, **options: (compiled.append(self), plain_call(self, **options))
        )
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        for choice in ("false", "true"):
            network.load_state_dict(start)
            module = ClassifierModule(network, learning_rate=0.01, weight_decay=0.0)
            trainer = make_trainer(
                hardware("hardware=cpu", f"hardware.compile={choice}"),
                max_epochs=2,
                reload_dataloaders_every_n_epochs=1,
                logger=False,
                enable_checkpointing=False,
            )
            trainer.fit(module, ImageDataModule(splits, batch_size=16, seed=0))
            trained.append({name: value.clone() for name, value in network.state_dict().items()})
        assert compiled == [network]
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
        assert list(trained[1]) == list(start)
        for name, value in trained[0].items():
            assert torch.allclose(value, trained[1][name], atol=1e-5), name
            assert not torch.equal(value, start[name]), name
        network.eval()
        place = find_gap_linear(network, splits.test.images[:8].float() / 255)
        assert place is not None
        assert place.linear is network[3]
        assert network._compiled_call_impl is None

    def test_an_attack_compiles_all_that_it_calls(self, settings: Settings, splits: ImageSplits) -> None:
        victim, surrogate, generator = nn.Flatten(), nn.Flatten(), SVAE(1, 3, (16, 16), 8, width=4, hidden=32)
        attack = SimpleNamespace(victim=victim, generator=generator, proxies=[surrogate])
        attack.networks = LatentAttack.networks.fget(attack)
        module = SimpleNamespace(networks=AttackModule.networks.fget(SimpleNamespace(attack=attack)))
        (callback,) = [
            one for one in make_trainer(hardware("hardware.compile=true")).callbacks if type(one) is Compilation
        ]
        callback.setup(None, module, "predict")
        parts = [victim, surrogate, *generator.children()]
        assert [part._compiled_call_impl is None for part in parts] == [False] * 6
        callback.teardown(None, module, "predict")
        assert [part._compiled_call_impl is None for part in parts] == [True] * 6


@pytest.mark.gpu
@pytest.mark.skipif(GPUS == 0, reason="needs a CUDA device")
class TestOnAGpu:
    """Every figure that a GPU gave is computed anew on the CPU."""

    CHOICES = (
        ["hardware=gpu"],
        ["hardware=gpu", "hardware.precision=bf16-mixed"],
        ["hardware=gpu", "hardware.precision=16-mixed"],
        ["hardware=gpu", "hardware.compile=true"],
        ["hardware=free_gpu", "attack=type1_cam"],
    )

    @pytest.mark.parametrize("choice", CHOICES, ids=" ".join)
    def test_a_study_trains_attacks_and_explains(
        self, command: Callable[..., Answer], tiny: list[str], choice: list[str]
    ) -> None:
        answer = command(*choice, *tiny[:-1], "hydra.run.dir=run")
        assert answer.code == 0, answer.err
        tensors = load_file("run/attack.safetensors")
        networks = {}
        for role in ("victim", "generator"):
            (path,) = Path("outputs/models").glob(f"{role}-*/model.ckpt")
            state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
            assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())
            networks[role] = {name.removeprefix("network."): value for name, value in state.items()}
        generator = SVAE(1, 3, (16, 16), 8, width=4, hidden=32)
        generator.load_state_dict(networks["generator"])
        generator.eval()
        # Convolutions on a GPU round to TF32, mixed precision to eight bits: far less than a wrong picture is off by.
        tolerance = 0.02 if any("mixed" in word for word in choice) else 5e-3
        with torch.no_grad():
            assert torch.allclose(generator.encode(tensors["x"]).mean, tensors["z0"], atol=5 * tolerance)
            assert torch.allclose(generator.generate(tensors["z"]), tensors["x_adv"], atol=tolerance)
            f2 = generator.classifier(tensors["z"]).softmax(dim=1)
        assert torch.allclose(f2, tensors["f2_probs"], atol=tolerance)
        logits = tensors["cam_x_adv"].mean(dim=(2, 3)) + networks["victim"]["classifier.bias"]
        assert torch.allclose(tensors["victim_probs"].log().diff(dim=1), logits.diff(dim=1), atol=1e-3)
        # Predict had gradients: a walk leaves its start, and the proxies believe its end more.
        assert (tensors["path"][:, 0] - tensors["path"][:, -1]).norm(dim=1).max() > 0.01
        assert tensors["term surrogates"][:, -1].mean() < tensors["term surrogates"][:, 0].mean()
        assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())

    def test_gives_the_verdicts_of_the_cpu(
        self, study: Study, command: Callable[..., Answer], tiny: list[str]
    ) -> None:
        """With the same networks; a picture at the edge of a verdict may fall to the other side."""
        answer = command(*tiny[:-1], "hardware=gpu", f"outputs={study.root / 'outputs'}", "hydra.run.dir=gpu")
        assert answer.code == 0, answer.err
        tensors = load_file("gpu/attack.safetensors")
        for name in ("index", "x", "y", "target"):
            assert torch.equal(tensors[name], study.tensors[name]), name
        assert torch.allclose(tensors["z0"], study.tensors["z0"], atol=1e-2)
        assert torch.allclose(tensors["victim_probs_x"], study.tensors["victim_probs_x"], atol=1e-2)
        assert torch.allclose(tensors["cam_x"], study.tensors["cam_x"], atol=0.1)
        agree = [one == other for one, other in zip(verdicts(Path("gpu")), verdicts(study.folder), strict=True)]
        assert sum(agree) >= 10
        assert stored(study.root) == study.store

    def test_gets_back_what_a_trainer_left_on_the_cpu(self, splits: ImageSplits) -> None:
        device = devices.main_device(hardware("hardware=gpu"))
        network, generator = (
            nn.Sequential(nn.Flatten(), nn.Linear(256, 3)),
            SVAE(1, 3, (16, 16), 8, width=4, hidden=32),
        )
        judge = Ensemble({"one": nn.Sequential(nn.Flatten(), nn.Linear(256, 3))})
        called = opinions.Witnesses.call(network, judge, generator, splits.test.images[:8], device)
        codes = torch.randn(4, 8)
        for _ in range(2):
            drawn = called.draw(codes)
            assert drawn.device.type == "cpu"
            assert torch.allclose(drawn, generator.cpu().generate(codes), atol=1e-3)
            said = called.ask(drawn).victim
            assert torch.allclose(said, network.cpu()(drawn).softmax(dim=1), atol=1e-3)

    def test_explains_every_way(self, command: Callable[..., Answer], tiny: list[str]) -> None:
        """The study of explanations sends every kind of map and every control through the device."""
        overrides = ["experiment=cam_reliability", "reliability.victims=[0]", "reliability.images=6"]
        overrides += [
            "reliability.targets=1",
            "reliability.resamples=50",
            "reliability.folds=2",
            "attack.confidence=0.35",
        ]
        answer = command(*tiny[:-1], "hardware=gpu", *overrides, "reliability.confidence=0.4", "hydra.run.dir=run")
        assert answer.code == 0, answer.err
        assert Path("run/reliability.json").exists()

    @pytest.mark.skipif(GPUS < 2, reason="needs two CUDA devices")
    def test_two_give_the_verdicts_of_one(
        self, study: Study, command: Callable[..., Answer], cam_adv: Callable[..., Answer], tiny: list[str]
    ) -> None:
        answer = command(*tiny[:-1], "hardware=gpu", f"outputs={study.root / 'outputs'}", "hydra.run.dir=one")
        assert answer.code == 0, answer.err
        answer = cam_adv([*tiny[:-1], "hardware=multi_gpu", "hydra.run.dir=two"], study.root)
        assert answer.code == 0, answer.err
        agree = [a == b for a, b in zip(verdicts(Path("one")), verdicts(study.root / "two"), strict=True)]
        assert sum(agree) >= 11

    @pytest.mark.skipif(GPUS < 2, reason="needs two CUDA devices")
    def test_another_is_taken_where_the_first_is(self, command: Callable[..., Answer], tiny: list[str]) -> None:
        torch.cuda.reset_peak_memory_stats(0)
        torch.cuda.reset_peak_memory_stats(1)
        before = torch.cuda.max_memory_allocated(0)
        with devices.placed(hardware("hardware=free_gpu")) as first:
            assert devices.main_device(first).index == 0
            answer = command(*tiny[:-1], "hardware=free_gpu", "hydra.run.dir=run")
        assert answer.code == 0, answer.err
        assert torch.cuda.max_memory_allocated(0) == before
        assert torch.cuda.max_memory_allocated(1) > 0
