"""The devices and processes of a Trainer, alone, under SLURM, and with `torch.compile`."""

import os
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from conftest import compose
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.predict import AttackModule
from cam_adv.attributions.cam import find_cam_head
from cam_adv.config.compose import settings_from
from cam_adv.data.data_module import ImageDataModule
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.generators.strided_encoder import StridedEncoder
from cam_adv.models.generators.svae import SVAE
from cam_adv.runtime import distributed
from cam_adv.runtime.hardware_check import check_hardware
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.compilation import Compilation
from cam_adv.training.trainer import make_trainer, with_devices

TWO_CORES = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
TWO_PROCESSES = ("hardware=cpu_ddp", "hardware.devices=2")
COMPILES_SEQUENTIAL = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 14)
"""Older PyTorch leaves a `torch.nn.Sequential` as it is."""


def hardware(*overrides: str) -> HardwareSettings:
    return settings_from(compose(overrides)).hardware


class TestMakeTrainer:
    @pytest.mark.parametrize("overrides", [["hardware=cpu"], ["hardware=cpu_ddp", "hardware.devices=1"]])
    def test_one_device_uses_no_ddp(self, overrides: list[str]) -> None:
        trainer = make_trainer(hardware(*overrides), logger=False)
        assert isinstance(trainer.strategy, SingleDeviceStrategy)
        assert (trainer.world_size, trainer.global_rank) == (1, 0)

    @TWO_CORES
    def test_several_devices_spawn_processes_at_a_new_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The port of an earlier job's processes is not used again."""
        monkeypatch.setenv("MASTER_PORT", "1")
        trainer = make_trainer(hardware(*TWO_PROCESSES), logger=False)
        assert isinstance(trainer.strategy, DDPStrategy)
        assert trainer.strategy.launcher._start_method == "spawn"
        assert trainer.world_size == 2
        assert trainer.strategy.cluster_environment.main_port > 1

    def test_with_devices_is_limited_by_the_work(self) -> None:
        assert with_devices(hardware("hardware=cpu_ddp", "hardware.devices=8"), 3).devices == 3
        assert with_devices(hardware("hardware=cpu_ddp", "hardware.devices=2"), 3).devices == 2


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


@TWO_CORES
class TestSlurm:
    """The effects of SLURM's variables; SLURM itself isn't run."""

    @pytest.fixture(autouse=True)
    def task(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        """The last of two tasks on the second of two machines."""
        for name, value in SLURM.items():
            monkeypatch.setenv(name, value)
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)  # so that it is removed afterwards, whatever Lightning writes there
        return monkeypatch

    def test_make_trainer_has_the_rank_of_the_task(self, task: pytest.MonkeyPatch) -> None:
        group = SimpleNamespace(environment=distributed.cluster_environment(), check=lambda: None)
        task.setattr(distributed, "_current_group", group)
        check_hardware(hardware(*FOUR_TASKS))
        assert with_devices(hardware(*FOUR_TASKS), 1).processes == 4
        trainer = make_trainer(hardware(*FOUR_TASKS), logger=False)
        assert (trainer.global_rank, trainer.local_rank, trainer.world_size, trainer.num_nodes) == (3, 1, 4, 2)
        assert trainer.strategy.launcher.cluster_environment.creates_processes_externally

    @pytest.mark.parametrize(("devices", "nodes"), [(1, 2), (2, 1), (1, 4), (2, 3)])
    def test_check_hardware_other_number_of_tasks_raises(self, devices: int, nodes: int) -> None:
        wrong = hardware("hardware=cpu_ddp", f"hardware.devices={devices}", f"hardware.nodes={nodes}")
        with pytest.raises(UserError, match="4 processes were started on 2 machines") as refusal:
            check_hardware(wrong)
        assert refusal.value.remedy.startswith("Set hardware.devices=2 and hardware.nodes=2")

    def test_check_hardware_tasks_that_joined_no_group_raises(self) -> None:
        """The tasks of a launcher's job: each would run it."""
        with pytest.raises(UserError, match="4 processes were started for one job of a sweep"):
            check_hardware(hardware(*FOUR_TASKS))

    def test_single_task_spawns_its_own_processes(self, task: pytest.MonkeyPatch) -> None:
        single = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
        for name, value in single.items():
            task.setenv(name, value)
        check_hardware(hardware(*TWO_PROCESSES))
        trainer = make_trainer(hardware(*TWO_PROCESSES), logger=False)
        assert trainer.world_size == 2
        assert trainer.strategy.launcher._start_method == "spawn"


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
class TestCompilation:
    @pytest.fixture
    def network(self) -> nn.Sequential:
        torch.manual_seed(0)
        features = nn.Sequential(nn.Conv2d(1, 4, 3, stride=4), nn.ReLU())
        return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    @pytest.mark.slow
    def test_compiled_training_equals_the_plain_one(
        self, network: nn.Sequential, splits: ImageSplits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Afterwards hooks are called again, and the names of the weights are unchanged."""
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
        if COMPILES_SEQUENTIAL:
            assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
        assert list(trained[1]) == list(start)
        for name, value in trained[0].items():
            assert torch.allclose(value, trained[1][name], atol=1e-5), name
            assert not torch.equal(value, start[name]), name
        network.eval()
        cam_head = find_cam_head(network, splits.test.images[:8].float() / 255)
        assert cam_head is not None
        assert cam_head.linear is network[3]
        assert network._compiled_call_impl is None

    def test_attack_compiles_every_network_that_it_calls(self) -> None:
        victim, surrogate, generator = nn.Flatten(), nn.Flatten(), SVAE(1, 3, (16, 16), 8, width=4, hidden=32)
        attack = SimpleNamespace(models=AttackModels(victim, generator, [surrogate]))
        attack.networks = BoundAttack.networks.fget(attack)
        module = SimpleNamespace(networks=AttackModule.networks.fget(SimpleNamespace(attack=attack)))
        (callback,) = [
            one for one in make_trainer(hardware("hardware.compile=true")).callbacks if type(one) is Compilation
        ]
        callback.setup(None, module, "predict")
        parts = [victim, surrogate, *generator.children()]
        assert [part._compiled_call_impl is None for part in parts] == [False] * 6
        callback.teardown(None, module, "predict")
        assert [part._compiled_call_impl is None for part in parts] == [True] * 6

    def test_layers_of_a_decoder_are_compiled_too(self) -> None:
        """Its decode and encode are called, not the decoder itself."""

        class Decoder(nn.Module):
            code_shape = 4

            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(4, 4)

            def decode(self, z: torch.Tensor) -> torch.Tensor:
                return self.layer(z)

        decoder = Decoder()
        encoder = partial(StridedEncoder, width=2, hidden=4)
        module = SimpleNamespace(networks=[PretrainedGenerator(decoder, 1, 3, (16, 16), encoder=encoder)])
        Compilation().setup(None, module, "predict")  # type: ignore[arg-type]
        assert decoder.layer._compiled_call_impl is not None
        Compilation().teardown(None, module, "predict")  # type: ignore[arg-type]
        assert decoder.layer._compiled_call_impl is None
