"""The processes that torchrun or srun started for one command: rank 0 leads, the others help.

Only rank 0 runs the study. The others join it and wait; where a Trainer is to be at work in all of them, rank 0 hands
them the task, and each does it with a Trainer of its own. So run folders, the store and the report have one owner.
"""

import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

from cam_adv.errors import UserError

Result = TypeVar("Result")

STUCK = timedelta(minutes=10)
"""How long a process waits for others that should be at the same point: to come at all, and to exchange gradients."""

IDLE = timedelta(days=365)
"""How long a process waits where the others may well have something else to do. One that ends is noticed at once."""

GRACE = 30
"""Seconds in which rank 0 may tidy up after another process has ended; one that hangs on a GPU never can."""

NOTICE = 2
"""Seconds after which an error has another cause than a process that has ended."""

_company: "Company | None" = None


def environment() -> ClusterEnvironment | None:
    """Who started the processes of this command, as Lightning sees it: torchrun, srun, or nobody (None).

    A SLURM task that is alone counts as nobody's: it may start processes of its own.

    Raises:
        UserError: srun's variables don't say how many processes a machine has.
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


def company() -> "Company | None":
    """The processes that this one has joined, if any."""
    return _company


def join() -> "Company | None":
    """Find the other processes of this command; None where there are none.

    Raises:
        UserError: they don't come.
    """
    global _company
    started_by = environment()
    if started_by is not None and started_by.world_size() > 1:
        _company = Company(started_by)
    return _company


def together(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in every process of this command with equal arguments, and return what it returns here.

    Alone, this is a call and nothing else. A function that fails in another process ends that process.

    Args:
        function: what can be pickled, as its arguments can.

    Raises:
        UserError: another process has ended.
    """
    return function(*arguments) if _company is None else _company.together(function, *arguments)


def must_be_shared(folder: Path) -> None:
    """Refuse a folder of rank 0's that this process doesn't see.

    Raises:
        UserError: it isn't there.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there on {socket.gethostname()}.",
            "Start all processes in one folder, on machines that share a file system.",
        )


class Company:
    """All processes of one command.

    Beside the group in which Lightning exchanges gradients there are two: in one rank 0 hands out tasks; in the other
    each process listens for the end of the others, and nobody says anything but farewell.
    """

    def __init__(self, started_by: ClusterEnvironment) -> None:
        """Wait until all have come."""
        self.rank = started_by.global_rank()
        self.size = started_by.world_size()
        self.environment = started_by
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = started_by.main_address, str(started_by.main_port)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            dist.init_process_group(backend, timeout=STUCK, rank=self.rank, world_size=self.size)
            self._tasks = dist.new_group(backend="gloo", timeout=IDLE)
            self._farewells = dist.new_group(backend="gloo", timeout=IDLE)
        except dist.DistError as error:
            raise UserError(
                f"The {self.size} processes of this command can't find each other: {str(error).splitlines()[0]}.",
                "Start all of them, with torchrun or srun, on machines that reach each other.",
            ) from error
        self._broken = False
        self._lost = threading.Event()  # another process has ended without a farewell
        self._noticed = threading.Event()  # and the main thread knows
        others = range(1, self.size) if self.rank == 0 else [0]
        self._listeners = [threading.Thread(target=self._listen, args=[other], daemon=True) for other in others]
        for listener in self._listeners:
            listener.start()
        if self.rank == 0:
            # Lightning has a use for SIGTERM and none for SIGUSR1, which is this process's own.
            for number in (signal.SIGTERM, signal.SIGUSR1):
                signal.signal(number, self._end_early)

    def check(self) -> None:
        """Refuse to go on where the processes no longer agree on what they are doing.

        Raises:
            UserError: a task has failed, or a process has ended.
        """
        if self._broken:
            raise UserError(
                "A task failed in the midst of it, and the processes of this command have lost each other.",
                "Start the command again; what is finished stays.",
            )

    def together(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """See the function of this name; in rank 0."""
        self.check()
        task = pickle.dumps((function, arguments))
        self._broken = True  # unless everybody gets through it
        try:
            dist.broadcast_object_list([task], src=0, group=self._tasks)
            result = function(*arguments)
            dist.barrier(self._tasks)
        except Exception as error:
            if not isinstance(error, UserError) and self._lost.wait(NOTICE):
                raise self._ended_without() from error
            raise
        self._broken = False
        return result

    def serve(self) -> None:
        """What the other ranks do: each task of rank 0, until it has no more. One that fails ends the process."""
        try:
            while (task := self._next_task()) is not None:
                self._do(task)
                dist.barrier(self._tasks)
            self._say_farewell()
        except (RuntimeError, KeyboardInterrupt):  # a broken connection; whoever broke it has said why
            _give_up(f"cam-adv, rank {self.rank}: another process of this command has ended, and so does this one.")

    def _do(self, task: bytes) -> None:
        try:
            function, arguments = pickle.loads(task)
            function(*arguments)
        except Exception as error:
            said = str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))
            # Rank 0 may wait for an exchange that will not come: it hears of this by the broken connection.
            _give_up(f"cam-adv, rank {self.rank} on {socket.gethostname()}: {said}")

    def leave(self) -> None:
        """Rank 0 has no more tasks: everybody goes. Where a process is lost the others end with this one."""
        global _company
        _company = None
        if self.rank > 0:
            return  # who serves has left when rank 0 had
        for number in (signal.SIGTERM, signal.SIGUSR1):
            # Where another process has failed torchrun sends SIGTERM: what is left to say is said all the same.
            signal.signal(number, signal.SIG_IGN if self._lost.is_set() else signal.SIG_DFL)
        if self._broken or self._lost.is_set():
            return
        dist.broadcast_object_list([None], src=0, group=self._tasks)
        self._say_farewell()

    def _next_task(self) -> bytes | None:
        task: list[bytes | None] = [None]
        dist.broadcast_object_list(task, src=0, group=self._tasks)
        return task[0]

    def _say_farewell(self) -> None:
        for other in range(1, self.size) if self.rank == 0 else [0]:
            dist.send(torch.zeros(1), dst=other, group=self._farewells)
        for listener in self._listeners:
            listener.join()
        dist.destroy_process_group()

    def _listen(self, other: int) -> None:
        try:
            dist.recv(torch.zeros(1), src=other, group=self._farewells)
        except RuntimeError:
            self._lost.set()
            if self.rank == 0:
                os.kill(os.getpid(), signal.SIGUSR1)
                if not self._noticed.wait(GRACE):
                    _give_up(f"cam-adv: {self._ended_without()}")
            else:
                _give_up(f"cam-adv, rank {self.rank}: rank 0 has ended, and so does this process.")

    def _end_early(self, number: int, frame: object) -> None:
        if self._noticed.is_set():
            return
        self._noticed.set()
        self._broken = True
        if self._lost.wait(NOTICE):  # torchrun ends all processes when one of them has failed
            raise self._ended_without()
        raise UserError("This run was told to end.", "Start the command again; what is finished stays.")

    def _ended_without(self) -> UserError:
        return UserError(
            "Another process of this command has ended before its time.",
            "See above what it said, and start the command again; what is finished stays.",
        )


def _give_up(said: str) -> NoReturn:
    """End the process whatever its other threads wait for, so that its connections break."""
    print(said, file=sys.stderr, flush=True)
    os._exit(1)
