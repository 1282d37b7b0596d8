"""Processes of one command: equal calls on every rank, and clear endings where a rank fails, under any launcher."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import rank_program
from lightning.fabric.plugins.environments import SLURMEnvironment
from preloaded import ONE_THREAD, CommandResult, start, start_torchrun

from cam_adv.errors import UserError
from cam_adv.runtime import distributed

TWO_CORES = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")

LOST = "Another process of this command has ended before its time."
OUT_OF_SYNC = "have lost each other."
FOLLOWS = "another process of this command has ended, and so does this one."


def with_torchrun(*arguments: str, size: int = 2) -> CommandResult:
    """Of the program in processes of torchrun, which ends all where one fails."""
    options = ["--standalone", f"--nproc-per-node={size}"]
    return start_torchrun(options, rank_program.main, arguments, environment=own_environment()).result(100)


def without_supervisor(*arguments: str) -> list[CommandResult]:
    """Of each of two processes of the program that no launcher ends, as those of plain srun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        start(rank_program.main, arguments, environment=own_environment() | shared | of_rank)
        for of_rank in ({"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": "0"} for rank in "01")
    ]
    return [process.result(100) for process in processes]


def own_environment() -> dict[str, str]:
    """The variables of this process, without those of a launcher."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MASTER_", "TORCHELASTIC_"))}


@TWO_CORES
@pytest.mark.slow
class TestProcessGroup:
    def test_run_on_all_ranks_calls_every_rank(self) -> None:
        """In the processes of the command torchrun itself."""
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        process = subprocess.run(
            [*launcher, rank_program.__file__, "succeed"],
            env=own_environment() | ONE_THREAD,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        code, out, err = process.returncode, process.stdout, process.stderr
        assert code == 0, err
        assert out.split() == ["15", "21", *out.split()[2:]]
        assert sorted(re.findall(r"left \d", out)) == ["left 0", "left 1"]

    @pytest.mark.parametrize(("how", "size"), [("user error", 2), ("kill", 3), ("bug", 3)])
    def test_failing_rank_is_reported_by_rank_0(self, how: str, size: int) -> None:
        code, out, err = with_torchrun("fail", "1", how, size=size)
        assert code != 0
        assert out.splitlines()[0] == {2: "15", 3: "30"}[size]
        assert out.splitlines()[1].startswith(f"UserError: {LOST}")
        assert OUT_OF_SYNC in out.splitlines()[2]
        assert ("The folder is missing.\nMake one." in err) is (how == "user error")
        assert ("ValueError: a bug" in err) is (how == "bug")

    def test_failing_rank_0_reports_its_own_error(self) -> None:
        (_, out, _), (code, _, err) = without_supervisor("fail", "0", "bug")
        assert out.splitlines()[1] == "ValueError: a bug"
        assert OUT_OF_SYNC in out.splitlines()[2]
        assert code == 1
        assert FOLLOWS in err

    @pytest.mark.parametrize("mode", [("fail", "0", "kill"), ("rank 0 dies alone",)], ids="-".join)
    def test_killed_rank_0_ends_the_others(self, mode: tuple[str, ...]) -> None:
        _, (code, out, err) = without_supervisor(*mode)
        assert code == 1
        assert FOLLOWS in err
        assert "Traceback" not in err
        assert "left" not in out

    def test_killed_rank_without_supervisor_is_reported_by_rank_0(self) -> None:
        (_, out, _), _ = without_supervisor("fail", "1", "kill")
        assert out.splitlines()[1].startswith(f"UserError: {LOST}")
        assert OUT_OF_SYNC in out.splitlines()[2]

    def test_idle_killed_rank_interrupts_rank_0_with_torchrun(self) -> None:
        code, out, _ = with_torchrun("idle rank dies", "60")
        assert code != 0
        assert out.splitlines()[:3] == ["15", "None", LOST]
        assert OUT_OF_SYNC in out.splitlines()[3]

    def test_idle_killed_rank_without_supervisor_is_reported_at_the_next_call(self) -> None:
        (_, out, _), _ = without_supervisor("idle rank dies", "3")
        assert out.splitlines()[:3] == ["15", "None", "waited"]
        assert out.splitlines()[3].startswith(f"UserError: {LOST}")

    def test_sigterm_to_rank_0_ends_all_ranks(self) -> None:
        (_, out, _), (code, _, err) = without_supervisor("signal")
        assert out.splitlines()[:2] == ["15", "This run was told to end."]
        assert code == 1
        assert FOLLOWS in err

    @pytest.mark.parametrize("how", ["replaced", "swallowed"])
    def test_sigterm_is_the_reason_whatever_the_interrupted_code_makes_of_it(self, how: str) -> None:
        (_, out, _), (code, _, err) = without_supervisor("signal in a call", how)
        assert out.splitlines()[1].startswith("UserError: This run was told to end.")
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
