"""The processes that torchrun or srun started for one command.

Rank 0 runs the study and writes its files. The other ranks wait in `worker_loop`; where a Trainer has to run in all
processes, rank 0 broadcasts a function and its arguments, and every rank calls it with a Trainer of its own.

A lost process is noticed by the broken connection, at the next exchange with it. To end the remaining processes is
the launcher's task: torchrun always does, srun with `--kill-on-bad-exit`.
"""

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

from cam_adv.errors import UserError

Result = TypeVar("Result")

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""Limit for exchanges that all processes should reach at the same time: the start, and the averaging of gradients."""

IDLE_TIMEOUT = timedelta(days=365)
"""Limit for waiting until the other processes have finished work of their own."""

PROBE_TIMEOUT = timedelta(seconds=2)
"""How long to wait for the error that shows that a process has ended; without one it still runs."""

_current_group: "ProcessGroup | None" = None


def cluster_environment() -> ClusterEnvironment | None:
    """What started the processes of this command, as Lightning detects it: torchrun, srun, or neither (None).

    A single SLURM task counts as neither: it may start processes of its own.

    Raises:
        UserError: srun's variables don't give the number of processes on each machine.
    """
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if int(os.environ.get("SLURM_NTASKS", 1)) == 1 or not SLURMEnvironment.detect():
        return None
    try:
        return SLURMEnvironment(auto_requeue=False)
    except RuntimeError as error:
        raise UserError(
            f"SLURM starts {os.environ['SLURM_NTASKS']} processes, but doesn't say how many on each machine.",
            "Use --ntasks-per-node instead of --ntasks.",
        ) from error


def current_group() -> "ProcessGroup | None":
    """The group that this process has joined, if any."""
    return _current_group


def join() -> "ProcessGroup | None":
    """Connect to the other processes of this command; None where there are none.

    Raises:
        UserError: they can't be reached.
    """
    global _current_group
    environment = cluster_environment()
    if environment is not None and environment.world_size() > 1:
        _current_group = ProcessGroup(environment)
    return _current_group


def run_on_all_ranks(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in every process of this command with equal arguments; returns this process's result.

    In a single process this is a plain call. A function that fails in another process ends that process.

    Args:
        function: can be pickled, as its arguments can.

    Raises:
        UserError: another process has ended.
    """
    return function(*arguments) if _current_group is None else _current_group.run_on_all_ranks(function, *arguments)


def require_shared_folder(folder: Path) -> None:
    """Check that a folder of rank 0 exists for this process too.

    Raises:
        UserError: it doesn't.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there on {socket.gethostname()}.",
            "Start all processes in one folder, on machines that share a file system.",
        )


class ProcessGroup:
    """All processes of one command.

    Beside torch's default group, in which Lightning exchanges gradients, a second one carries the function calls.
    They are pickled, so every member can run code in the others; only this command's own processes are members.
    """

    def __init__(self, environment: ClusterEnvironment) -> None:
        """Wait until all processes are connected."""
        self.rank = environment.global_rank()
        self.size = environment.world_size()
        self.environment = environment
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT, rank=self.rank, world_size=self.size)
            calls = dist.new_group(backend="gloo", timeout=IDLE_TIMEOUT)
        except dist.DistError as error:
            raise UserError(
                f"The {self.size} processes of this command can't find each other: {str(error).splitlines()[0]}.",
                "Start all of them, with torchrun or srun, on machines that reach each other.",
            ) from error
        assert isinstance(calls, dist.ProcessGroup)  # an integer only for a process that isn't a member
        self._calls = calls
        self._in_sync = True  # every process waits for the next call
        self._told_to_end: UserError | None = None
        if self.rank == 0:
            signal.signal(signal.SIGTERM, self._terminate)

    def check(self) -> None:
        """Raise unless all processes are ready for the next call.

        Raises:
            UserError: a call has failed, or a process has ended.
        """
        if not self._in_sync:
            raise UserError(
                "A task failed in the midst of it, and the processes of this command have lost each other.",
                "Start the command again; what is finished stays.",
            )

    def run_on_all_ranks(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """In rank 0: see the function of this name."""
        self.check()
        self._in_sync = False
        try:
            self._broadcast((function, arguments))
            result = function(*arguments)
            dist.barrier(self._calls)
        except Exception as error:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of torchrun, which may follow: the failure is reported
            if self._told_to_end:  # what the signal interrupted may have replaced the error by one of its own
                raise self._told_to_end from error
            if not isinstance(error, UserError) and self._has_lost_rank():
                raise _rank_lost() from error
            raise
        if self._told_to_end:
            raise self._told_to_end
        self._in_sync = True
        return result

    def worker_loop(self) -> None:
        """In the other ranks: make the calls of rank 0 until it shuts down. A call that fails ends the process."""
        try:
            while (call := self._broadcast(None)) is not None:
                function, arguments = call
                function(*arguments)
                dist.barrier(self._calls)
        except Exception as error:
            if isinstance(error, UserError):
                reason = str(error)
            elif self._has_lost_rank():
                reason = "another process of this command has ended, and so does this one."
            else:
                reason = "".join(traceback.format_exception(error))
            print(f"cam-adv, rank {self.rank} on {socket.gethostname()}: {reason}", file=sys.stderr, flush=True)
            os._exit(1)  # an orderly exit may wait for a GPU; the others must see the broken connection
        self._disconnect()

    def shutdown(self) -> None:
        """Let the other ranks leave `worker_loop`. After a failed call, the end of rank 0 ends them."""
        global _current_group
        _current_group = None
        if self.rank == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a late one must not replace the outcome
            if self._in_sync:
                self._disconnect()

    def _broadcast(self, call: tuple[Callable[..., Any], tuple[Any, ...]] | None) -> Any:
        """Rank 0's `call`, in every rank."""
        objects = [call]
        dist.broadcast_object_list(objects, src=0, group=self._calls)
        return objects[0]

    def _disconnect(self) -> None:
        with suppress(RuntimeError):  # of a process that has ended already
            if self.rank == 0:
                self._broadcast(None)
            dist.barrier(self._calls)
        dist.destroy_process_group()

    def _has_lost_rank(self) -> bool:
        """Whether another process has ended. The group can't be used afterwards.

        A receive from a rank that has ended fails at once; from one that still runs it times out, as none is sending.
        """
        for rank in set(range(self.size)) - {self.rank}:
            try:
                receive = dist.irecv(torch.zeros(1), src=rank, group=self._calls)
                assert receive is not None  # as this process is a member
                receive.wait(PROBE_TIMEOUT)
            except RuntimeError as error:
                if "timeout" not in str(error) and "Timed out" not in str(error):
                    return True
        return False

    def _terminate(self, number: int, frame: object) -> None:
        """End rank 0 with the reason: torchrun sends SIGTERM where another process has failed, users send it too."""
        signal.signal(number, signal.SIG_IGN)
        self._in_sync = False
        self._told_to_end = (
            _rank_lost()
            if self._has_lost_rank()
            else UserError("This run was told to end.", "Start the command again; what is finished stays.")
        )
        raise self._told_to_end


def _rank_lost() -> UserError:
    return UserError(
        "Another process of this command has ended before its time.",
        "See above what it said, and start the command again; what is finished stays.",
    )
