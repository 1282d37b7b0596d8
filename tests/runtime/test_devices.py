"""The choice of a device: locks between processes, and hardware that is refused before a run."""

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import compose

from cam_adv.api import load
from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError
from cam_adv.runtime import device_lock as device_locks
from cam_adv.runtime import devices
from cam_adv.runtime.device_lock import device_lock
from cam_adv.runtime.hardware_check import check_hardware
from cam_adv.schema.hardware import HardwareSettings

CONF = Path(__file__).parents[2] / "conf" / "hardware"


def hardware(*overrides: str) -> HardwareSettings:
    return settings_from(compose(overrides)).hardware


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that reports four GPUs."""
    uuids = {number: SimpleNamespace(uuid=f"GPU-{letter}") for number, letter in enumerate("abcd")}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", uuids.get)
    monkeypatch.setattr(devices, "device_lock_folder", lambda: tmp_path / "locks")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


HOLD = """
import sys, time
from pathlib import Path
from cam_adv.runtime.device_lock import device_lock
with device_lock(["a", "b"], Path(sys.argv[1])) as number:
    print(number, flush=True)
    time.sleep(600)
"""


class TestDeviceLock:
    def test_returns_the_first_device_that_is_free(self, tmp_path: Path) -> None:
        with device_lock(["a", "b", "c"], tmp_path) as first, device_lock(["a", "b", "c"], tmp_path) as second:
            assert (first, second) == (0, 1)
        with device_lock(["a", "b", "c"], tmp_path) as again:
            assert again == 0

    def test_locks_by_name_not_by_number(self, tmp_path: Path) -> None:
        """With CUDA_VISIBLE_DEVICES=1, device 0 of a process is device 1 of another."""
        with device_lock(["a", "b"], tmp_path), device_lock(["b", "a"], tmp_path) as number:
            assert number == 0
        with device_lock(["b"], tmp_path), device_lock(["b", "a"], tmp_path) as number:
            assert number == 1

    def test_all_taken_waits_and_logs_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        polls = threading.Semaphore(0)
        monkeypatch.setattr(device_locks.time, "sleep", lambda seconds: polls.release())
        acquired: list[int] = []

        def wait() -> None:
            with device_lock(["a", "b"], tmp_path) as number:
                acquired.append(number)

        with caplog.at_level(logging.INFO), device_lock(["a", "b"], tmp_path):
            with device_lock(["a", "b"], tmp_path):
                waiting = threading.Thread(target=wait)
                waiting.start()
                assert polls.acquire(timeout=30)
                assert polls.acquire(timeout=30)  # it has tried twice, and found both taken
                assert acquired == []
            waiting.join(timeout=30)
            assert acquired == [1]
        assert [record.getMessage() for record in caplog.records if "taken" in record.getMessage()] == [
            "All 2 devices are taken: waiting for one."
        ]

    @pytest.mark.slow
    def test_killed_process_releases_its_device(self, tmp_path: Path) -> None:
        holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout.readline() == "0\n"
            with device_lock(["a", "b"], tmp_path) as number:
                assert number == 1
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
        with device_lock(["a", "b"], tmp_path) as number:
            assert number == 0


class TestDevices:
    def test_acquire_device_idle_gives_each_caller_its_own_gpu(self, four_gpus: None) -> None:
        with devices.acquire_device(hardware("hardware=free_gpu")) as first:
            with devices.acquire_device(hardware("hardware=free_gpu")) as second:
                assert devices.main_device(first) == torch.device("cuda", 0)
                assert devices.main_device(second) == torch.device("cuda", 1)
                assert second.model_copy(update={"device": "idle"}) == hardware("hardware=free_gpu")
            with devices.acquire_device(hardware("hardware=gpu", "hardware.device=3")) as third:
                assert devices.main_device(third) == torch.device("cuda", 3)

    def test_main_device_first_is_gpu_0_or_the_cpu(self, four_gpus: None) -> None:
        assert devices.main_device(hardware("hardware=gpu")) == torch.device("cuda", 0)
        assert devices.main_device(hardware("hardware=cpu")) == torch.device("cpu")

    @pytest.mark.parametrize(
        ("overrides", "number"),
        [
            (["hardware=gpu"], 4),
            (["hardware=auto"], 4),
            (["hardware=gpu", "hardware.trainings=7"], 7),
            (["hardware=multi_gpu"], 1),
            (["hardware=cpu"], 1),
            (["hardware=cpu", "hardware.trainings=2"], 2),
        ],
    )
    def test_concurrent_trainings_auto_is_four_on_one_gpu(
        self, four_gpus: None, monkeypatch: pytest.MonkeyPatch, overrides: list[str], number: int
    ) -> None:
        monkeypatch.setattr(os, "cpu_count", lambda: 8)
        assert devices.concurrent_trainings(hardware(*overrides)) == number

    def test_main_device_idle_without_acquire_raises(self, four_gpus: None) -> None:
        with pytest.raises(ValueError, match="no device was acquired"):
            devices.main_device(hardware("hardware=free_gpu"))


REFUSED = [
    (["hardware=free_gpu"], "hardware.accelerator=gpu, but PyTorch sees no GPU"),
    (["hardware=slurm"], "hardware.accelerator=gpu, but PyTorch sees no GPU"),
    (["hardware.device=idle"], "hardware.device=idle chooses a GPU, but this run is on the CPU"),
    (["hardware.device=2"], "hardware.device=2 chooses a GPU, but this run is on the CPU"),
    (["hardware.precision=16-mixed"], "hardware.precision=16-mixed needs a GPU"),
    (["hardware.nodes=2"], "hardware.devices=1 and hardware.nodes=2 need a strategy"),
    (["hardware=cpu_ddp", "hardware.devices=1", "hardware.nodes=2"], "hardware.nodes=2, but no process was started"),
]

REFUSED_WITH_FOUR_GPUS = [
    (["hardware=multi_gpu", "hardware.devices=5"], "hardware.devices=5, but this machine has 4 GPUs"),
    (["hardware.device=4"], "hardware.device=4, but this machine has 4 GPUs"),
    (["hardware=free_gpu", "hardware.devices=2"], "need a strategy for several processes"),
    (["hardware=multi_gpu", "hardware.device=idle"], "hardware.device=idle chooses one GPU, but hardware.devices=2"),
    (["hardware=multi_gpu", "hardware.device=1"], "hardware.device=1 chooses one GPU, but hardware.devices=2"),
    (["hardware=multi_gpu", "hardware.trainings=3"], "hardware.trainings=3 trains several models on one device"),
]


class TestCheckHardware:
    @pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=lambda part: "")
    def test_missing_hardware_raises(self, no_gpu: None, overrides: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            check_hardware(hardware(*overrides))

    @pytest.mark.parametrize(("overrides", "message"), REFUSED_WITH_FOUR_GPUS, ids=lambda part: "")
    def test_impossible_use_of_four_gpus_raises(self, four_gpus: None, overrides: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            check_hardware(hardware(*overrides))

    def test_possible_hardware_passes(self, four_gpus: None) -> None:
        for choice in ("auto", "gpu", "free_gpu", "multi_gpu"):
            check_hardware(hardware(f"hardware={choice}"))
        check_hardware(hardware("hardware=multi_gpu", "hardware.devices=1", "hardware.device=3"))

    def test_compile_without_compiler_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        monkeypatch.delenv("CXX", raising=False)
        with pytest.raises(UserError, match=r"hardware\.compile=true needs a C\+\+ compiler"):
            check_hardware(hardware("hardware=cpu", "hardware.compile=true"))

    def test_compile_with_attack_that_needs_maps_raises(self) -> None:
        with pytest.raises(UserError, match="needs maps from inside the victim"):
            hardware("hardware.compile=true", "attack=type1_cam")

    def test_idle_device_in_a_notebook_raises(self, four_gpus: None) -> None:
        """A notebook would never release it."""
        with pytest.raises(UserError, match=r"hardware\.device=idle is for a command"):
            load("hardware=free_gpu")

    @pytest.mark.parametrize("choice", sorted(path.stem for path in CONF.glob("*.yaml")))
    def test_every_config_choice_has_the_same_keys(self, choice: str) -> None:
        assert list(compose([f"hardware={choice}"]).hardware) == list(HardwareSettings.model_fields)
