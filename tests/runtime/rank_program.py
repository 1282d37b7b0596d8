"""The program of `test_distributed`: rank 0 runs `study`, the other ranks work for it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist

from cam_adv.errors import UserError
from cam_adv.runtime.distributed import join, run_on_all_ranks
from cam_adv.runtime.shutdown import graceful_shutdown


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def add(value: int) -> float:
    total = torch.tensor([value * (dist.get_rank() + 1)])
    dist.all_reduce(total)
    return total.item()


def fail(rank: int, how: str) -> float:
    if dist.get_rank() == rank:
        if how == "kill":
            kill()
        raise {"user error": UserError("The folder is missing.", "Make one."), "bug": ValueError("a bug")}[how]
    return add(1)


def kill_soon(rank: int) -> None:
    if dist.get_rank() == rank:
        threading.Timer(1, kill).start()


def end_rank_0(how: str) -> None:
    """Ask rank 0 to end while it is in code that takes any error for one of its own."""
    if dist.get_rank() == 0:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        try:
            time.sleep(60)
        except Exception as error:
            if how == "replaced":
                raise ValueError("a bug") from error


def attempt(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function on all ranks; print what it returns or raises."""
    try:
        print(run_on_all_ranks(function, *arguments), flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)


def wait(seconds: float) -> None:
    try:
        time.sleep(seconds)
        print("waited", flush=True)
    except UserError as error:
        print(error.what, flush=True)


def study(mode: str, *arguments: str) -> None:
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
    if mode == "signal in a call":
        attempt(end_rank_0, arguments[0])


def main(arguments: Sequence[str]) -> None:
    with graceful_shutdown():
        group = join()
        assert group is not None
        if group.rank > 0:
            group.worker_loop()
        else:
            try:
                study(*arguments)
            finally:
                group.shutdown()
        sys.stdout.write(f"left {group.rank}\n")  # one write, as two ranks share the output


if __name__ == "__main__":
    main(sys.argv[1:])
