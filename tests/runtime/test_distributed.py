"""Processes of one command: equal calls on every rank, and clear endings where a rank fails, under any launcher."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import ONE_THREAD
from lightning.fabric.plugins.environments import SLURMEnvironment

from cam_adv.errors import UserError
from cam_adv.runtime import distributed

TWO_CORES = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")

PROGRAM = '''
import os, signal, sys, threading, time
import torch
import torch.distributed as dist
from cam_adv.errors import UserError
from cam_adv.runtime.distributed import join, run_on_all_ranks
from cam_adv.runtime.shutdown import graceful_shutdown

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def add(value):
    total = torch.tensor([value * (dist.get_rank() + 1)])
    dist.all_reduce(total)
    return total.item()

def fail(rank, how):
    if dist.get_rank() == rank:
        if how == "kill":
            kill()
        raise {"user error": UserError("The folder is missing.", "Make one."), "bug": ValueError("a bug")}[how]
    return add(1)

def kill_soon(rank):
    if dist.get_rank() == rank:
        threading.Timer(1.5, kill).start()

def attempt(function, *arguments):
    """Call a function on all ranks; print what it returns or raises."""
    try:
        print(run_on_all_ranks(function, *arguments), flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}".replace(chr(10), " "), flush=True)

def wait(seconds):
    try:
        time.sleep(seconds)
        print("waited", flush=True)
    except UserError as error:
        print(error.what, flush=True)

def study(mode, *arguments):
    attempt(add, 5)
    if mode == "succeed":
        attempt(add, 7)
    if mode == "fail":
        attempt(fail, int(arguments[0]), arguments[1])
        attempt(add, 5)
    if mode == "idle rank dies":
        attempt(kill_soon, 1)
        wait(float(arguments[0]))
        attempt(add, 5)
    if mode == "rank 0 dies alone":
        kill()
    if mode == "signal":
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        wait(60)

with graceful_shutdown():
    group = join()
    if group.rank > 0:
        group.worker_loop()
    else:
        try:
            study(*sys.argv[1:])
        finally:
            group.shutdown()
    sys.stdout.write(f"left {group.rank}" + chr(10))  # one write, as two ranks share the pipe
'''

LOST = "Another process of this command has ended before its time."
OUT_OF_SYNC = "have lost each other."
FOLLOWS = "another process of this command has ended, and so does this one."


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def started(command: Sequence[str], **environment: str) -> subprocess.Popen:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("MASTER_", "TORCHELASTIC_"))}
    return subprocess.Popen(
        [sys.executable, *command],
        env=own | ONE_THREAD | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def with_torchrun(program: Path, *arguments: str, size: int = 2) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the program in processes of torchrun, which ends all where one fails."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
    process = started([*launcher, str(program), *arguments])
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def without_supervisor(program: Path, *arguments: str) -> list[tuple[int, str, str]]:
    """The same of each of two processes that no launcher ends, as those of plain srun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        started([str(program), *arguments], **shared, RANK=rank, LOCAL_RANK=rank, GROUP_RANK="0") for rank in "01"
    ]
    texts = [process.communicate(timeout=100) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


@TWO_CORES
@pytest.mark.slow
class TestProcessGroup:
    def test_run_on_all_ranks_calls_every_rank(self, program: Path) -> None:
        code, out, err = with_torchrun(program, "succeed")
        assert code == 0, err
        assert out.split() == ["15", "21", *out.split()[2:]]
        assert sorted(re.findall(r"left \d", out)) == ["left 0", "left 1"]

    @pytest.mark.parametrize(("how", "size"), [("user error", 2), ("kill", 3), ("bug", 3)])
    def test_failing_rank_is_reported_by_rank_0(self, program: Path, how: str, size: int) -> None:
        code, out, err = with_torchrun(program, "fail", "1", how, size=size)
        assert code != 0
        assert out.splitlines()[0] == {2: "15", 3: "30"}[size]
        assert out.splitlines()[1].startswith(f"UserError: {LOST}")
        assert OUT_OF_SYNC in out.splitlines()[2]
        assert ("The folder is missing.\nMake one." in err) is (how == "user error")
        assert ("ValueError: a bug" in err) is (how == "bug")

    def test_failing_rank_0_reports_its_own_error(self, program: Path) -> None:
        (_, out, _), (code, _, err) = without_supervisor(program, "fail", "0", "bug")
        assert out.splitlines()[1] == "ValueError: a bug"
        assert OUT_OF_SYNC in out.splitlines()[2]
        assert code == 1
        assert FOLLOWS in err

    @pytest.mark.parametrize("mode", [("fail", "0", "kill"), ("rank 0 dies alone",)], ids="-".join)
    def test_killed_rank_0_ends_the_others(self, program: Path, mode: tuple[str, ...]) -> None:
        _, (code, out, err) = without_supervisor(program, *mode)
        assert code == 1
        assert FOLLOWS in err
        assert "Traceback" not in err
        assert "left" not in out

    def test_killed_rank_without_supervisor_is_reported_by_rank_0(self, program: Path) -> None:
        (_, out, _), _ = without_supervisor(program, "fail", "1", "kill")
        assert out.splitlines()[1].startswith(f"UserError: {LOST}")
        assert OUT_OF_SYNC in out.splitlines()[2]

    def test_idle_killed_rank_interrupts_rank_0_with_torchrun(self, program: Path) -> None:
        code, out, _ = with_torchrun(program, "idle rank dies", "60")
        assert code != 0
        assert out.splitlines()[:3] == ["15", "None", LOST]
        assert OUT_OF_SYNC in out.splitlines()[3]

    def test_idle_killed_rank_without_supervisor_is_reported_at_the_next_call(self, program: Path) -> None:
        (_, out, _), _ = without_supervisor(program, "idle rank dies", "5")
        assert out.splitlines()[:3] == ["15", "None", "waited"]
        assert out.splitlines()[3].startswith(f"UserError: {LOST}")

    def test_sigterm_to_rank_0_ends_all_ranks(self, program: Path) -> None:
        (_, out, _), (code, _, err) = without_supervisor(program, "signal")
        assert out.splitlines()[:2] == ["15", "This run was told to end."]
        assert code == 1
        assert FOLLOWS in err


def test_run_on_all_ranks_alone_is_a_plain_call() -> None:
    assert distributed.current_group() is None
    assert distributed.run_on_all_ranks(divmod, 7, 3) == (2, 1)


def test_require_shared_folder_missing_raises(tmp_path: Path) -> None:
    distributed.require_shared_folder(tmp_path)
    with pytest.raises(UserError, match="is not there on"):
        distributed.require_shared_folder(tmp_path / "missing")


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
ONE_TASK = {"SLURM_NTASKS": "1", "SLURM_NNODES": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


class TestSlurm:
    """The effects of SLURM's variables; SLURM itself isn't run."""

    @pytest.fixture
    def task(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        """The last of two tasks on the second of two machines."""
        for name, value in SLURM.items():
            monkeypatch.setenv(name, value)
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)  # so that it is removed afterwards, whatever Lightning writes there
        return monkeypatch

    def test_cluster_environment_has_rank_and_address(self, task: pytest.MonkeyPatch) -> None:
        environment = distributed.cluster_environment()
        assert isinstance(environment, SLURMEnvironment)
        ranks = environment.global_rank(), environment.local_rank(), environment.node_rank()
        assert (*ranks, environment.world_size()) == (3, 1, 1, 4)
        assert (environment.main_address, environment.main_port) == ("node3", 15000 + 1234)
        assert not environment.auto_requeue  # Lightning would save and load checkpoints of its own

    def test_no_tasks_per_machine_raises(self, task: pytest.MonkeyPatch) -> None:
        task.delenv("SLURM_NTASKS_PER_NODE")
        with pytest.raises(UserError, match="SLURM starts 4 processes") as refusal:
            distributed.cluster_environment()
        assert "--ntasks-per-node" in refusal.value.remedy

    def test_interactive_shell_is_no_launcher(self, task: pytest.MonkeyPatch) -> None:
        task.setenv("SLURM_JOB_NAME", "bash")
        assert distributed.cluster_environment() is None

    def test_single_task_is_no_launcher(self, task: pytest.MonkeyPatch) -> None:
        for name, value in ONE_TASK.items():
            task.setenv(name, value)
        assert distributed.cluster_environment() is None
        assert distributed.join() is None
