"""Processes of tests that start with PyTorch, Lightning and `cam_adv` imported: forks of one server process.

A fresh interpreter needs six seconds for these imports. What depends on a fresh one is tested with `subprocess`.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple
from unittest.mock import patch

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PRELOADED = [
    "torch.distributed.run",
    "cam_adv.api",
    "cam_adv.cli",
    "cam_adv.runtime.distributed",
    "cam_adv.training.trainer",
]


class CommandResult(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@dataclass
class Started:
    """A process that runs, with the files that it writes its output to."""

    process: ForkServerProcess
    out: Any = field(repr=False)
    err: Any = field(repr=False)

    def send_signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        return self.process.exitcode

    def result(self, timeout: float = 300) -> CommandResult:
        """Exit code and output, once the process has ended.

        Raises:
            TimeoutError: it did not end within `timeout` seconds, and was killed.
        """
        self.process.join(timeout)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise TimeoutError(f"not ended after {timeout} seconds: {Path(self.err.name).read_text()}")
        with self.out, self.err:
            return CommandResult(code, Path(self.out.name).read_text(), Path(self.err.name).read_text())


def start(
    function: Callable[..., Any],
    *arguments: Any,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Started:
    """Call a function in a process of its own, in `folder` and with these environment variables."""
    forkserver.set_forkserver_preload(PRELOADED)
    with patch.dict(os.environ, ONE_THREAD):
        forkserver.ensure_running()
    own = dict(os.environ if environment is None else environment) | ONE_THREAD
    out, err = NamedTemporaryFile(), NamedTemporaryFile()  # noqa: SIM115
    context = multiprocessing.get_context("forkserver")
    process = context.Process(
        target=_call, args=(function, arguments, str(folder or Path.cwd()), own, out.name, err.name), daemon=False
    )
    process.start()
    return Started(process, out, err)


def start_command(overrides: Sequence[str], folder: Path, *, start_method: str = "spawn") -> Started:
    """Start `cam-adv` with these overrides in `folder`, as a process of its own.

    Args:
        start_method: how the processes of `hardware.devices=2` and `hardware.trainings=2` are started: "spawn", as
            always outside of tests, or "forkserver", with which these are preloaded too.
    """
    return start(run_command, list(overrides), start_method, folder=folder, environment=_command_environment())


def start_torchrun(
    options: Sequence[str],
    function: Callable[..., Any],
    *arguments: Any,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Started:
    """Start torchrun with these options, whose processes call a function instead of running a program."""
    return start(_torchrun, list(options), function, arguments, folder=folder, environment=environment)


def start_command_with_torchrun(overrides: Sequence[str], folder: Path, *options: str) -> Started:
    """Start `cam-adv` in several processes with torchrun."""
    return start_torchrun(options, run_command, list(overrides), folder=folder, environment=_command_environment())


def run_command(overrides: list[str], start_method: str = "spawn") -> None:
    """`cam-adv` in this process."""
    from cam_adv import cli
    from cam_adv.training import side_by_side, trainer

    spawned = trainer._start

    def started() -> dict[str, Any]:
        options = spawned()
        return options | {"start_method": start_method} if "start_method" in options else options

    forkserver.set_forkserver_preload(PRELOADED)
    sys.argv = ["cam-adv", *overrides]
    with patch.object(trainer, "_start", started), patch.object(side_by_side, "START_METHOD", start_method):
        cli.main()


def _command_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}


class _Fork:
    """A process of torchrun, with the methods of `subprocess.Popen` that torchrun uses."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=self._run, args=(function, arguments, environment), daemon=False)
        self._process.start()
        self.pid = self._process.pid

    @staticmethod
    def _run(function: Callable[..., Any], arguments: tuple[Any, ...], environment: dict[str, str]) -> None:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.environ.update(environment)
        function(*arguments)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("fork", timeout or 0)
        return self._process.exitcode


def _torchrun(options: list[str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler import SubprocessHandler

    def fork(self: SubprocessHandler, args: tuple[str, ...], environment: dict[str, str]) -> _Fork:
        return _Fork(function, arguments, environment)

    with patch.object(SubprocessHandler, "_popen", fork):
        run.main([*options, "replaced_program"])


def _call(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    folder: str,
    environment: dict[str, str],
    out: str,
    err: str,
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.chdir(folder)
    for path, stream in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, stream)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    function(*arguments)
