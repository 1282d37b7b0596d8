"""Early endings of a command: signals, and errors of the file system."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import AttackRun
from preloaded import start_command
from safetensors import SafetensorError

from cam_adv.runtime.shutdown import describe_os_error, graceful_shutdown


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_an_attack_ends_the_command_at_once(
    attack_run: AttackRun, tiny: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    """Within a batch that would take minutes."""
    overrides = [*tiny, "attack.steps=1000000", "attack.early_stop_prob=0.9999", f"hydra.run.dir={tmp_path / 'run'}"]
    running = start_command(overrides, attack_run.root)
    while not (tmp_path / "run" / "batches").is_dir():
        assert running.poll() is None, running.result().err
        time.sleep(0.02)
    time.sleep(0.5)
    running.send_signal(number)
    code, _, err = running.result(20)
    assert code == 128 + number
    assert f"cam-adv: This command was told to end ({number.name})." in err
    assert "resume=latest" in err
    assert "Traceback" not in err


def test_graceful_shutdown_exits_where_a_library_replaces_system_exit(capsys: pytest.CaptureFixture[str]) -> None:
    """As OmegaConf does where a signal interrupts a copy."""

    def copy() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except BaseException as error:
            raise AttributeError("half a copy") from error

    with pytest.raises(SystemExit) as ending, graceful_shutdown():
        copy()
    assert ending.value.code == 128 + signal.SIGTERM
    assert "told to end (SIGTERM)" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("end", ["ignored", "finished"])
def test_signal_ends_a_command_that_ignores_it_and_one_that_is_finished(end: str) -> None:
    """An exception in a destructor is ignored by the interpreter; after the command there is only its end."""
    program = """
import os, signal, sys, time
from cam_adv.runtime import shutdown

class Destroyed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

shutdown.GRACE = 0.3
try:
    with shutdown.graceful_shutdown():
        if sys.argv[1] == "ignored":
            Destroyed()
            time.sleep(60)
finally:
    shutdown.end_at_once_on_interrupt()
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, end], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == {"ignored": 128 + signal.SIGTERM, "finished": -signal.SIGINT}[end]
    assert ("told to end (SIGTERM)" in done.stderr) is (end == "ignored")
    assert "KeyboardInterrupt" not in done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "there"), "The disk is full: there."),
        (OSError(errno.EROFS, "Read-only file system", "there"), "The disk is read-only: there."),
        (PermissionError(errno.EACCES, "Permission denied", "there"), "Permission is denied: there."),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "The disk is full."),
        (RuntimeError("[enforce fail at inline_container.cc:815] . file write failed"), "The disk is full."),
        (FileNotFoundError(errno.ENOENT, "No such file", "there"), None),
        (ValueError("anything"), None),
    ],
)
def test_describe_os_error_returns_a_message_for_file_errors_only(error: Exception, message: str | None) -> None:
    assert (describe_os_error(error) or (None,))[0] == message
    outer = RuntimeError("while saving")
    outer.__cause__ = error
    assert (describe_os_error(outer) or (None,))[0] == message
