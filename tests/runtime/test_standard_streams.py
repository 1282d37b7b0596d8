"""Printing to streams that lack characters, have lost their reader or can't be written, as processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

PROTECTED = """
import sys
from pathlib import Path
from cam_adv.runtime.standard_streams import protect_standard_streams
protect_standard_streams()
protect_standard_streams()
"""


def run(program: str, folder: Path, redirection: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a protected program in `folder`; its streams are redirected as in a shell."""
    (folder / "program.py").write_text(PROTECTED + program, encoding="utf-8")
    assignments = " ".join(f"{name}={value}" for name, value in environment.items())
    command = f"env {assignments} {sys.executable} program.py {redirection}"
    return subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=folder, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "40–55 ≥ é 猫 ".encode() + b"\xe4\n"),
        ("latin-1", b"40-55 >= \xe9 \\u732b \xe4\n"),
        ("ascii", b"40-55 >= \\xe9 \\u732b \xe4\n"),
    ],
)
def test_what_the_encoding_lacks_is_spelled_out(tmp_path: Path, encoding: str, written: bytes) -> None:
    """The last character is a byte of a path in another encoding."""
    done = run('print("40–55 ≥ é 猫 \\udce4")', tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, written, b"")


@pytest.mark.parametrize("python_flags", ["", "1"], ids=["buffered", "unbuffered"])
def test_program_whose_reader_has_gone_runs_to_its_end(tmp_path: Path, python_flags: str) -> None:
    program = 'for number in range(100_000): print(number)\nPath("result").write_text("42")'
    done = run(program, tmp_path, "| head -1", PYTHONUNBUFFERED=python_flags)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"0\n", b"")
    assert (tmp_path / "result").read_text() == "42"


def test_program_on_a_full_disk_runs_to_its_end_and_says_so_once(tmp_path: Path) -> None:
    program = 'for number in range(3): print(number, flush=True)\nPath("result").write_text("42")'
    done = run(program, tmp_path, "> /dev/full")
    assert done.returncode == 0
    assert done.stderr.decode() == (
        "cam-adv: Standard output can't be written any more (No space left on device).\n"
        "         The run goes on without it; its files are complete.\n"
    )
    assert (tmp_path / "result").read_text() == "42"


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "2> /dev/full"])
def test_program_without_a_stream_keeps_its_exit_code(tmp_path: Path, redirection: str) -> None:
    program = 'print(1)\nprint(2, file=sys.stderr, flush=True)\nPath("result").write_text("42")\nsys.exit(2)'
    done = run(program, tmp_path, redirection)
    assert done.returncode == 2
    assert (tmp_path / "result").read_text() == "42"


def test_streams_of_others_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    from cam_adv.runtime.standard_streams import protect_standard_streams

    before = sys.stdout, sys.stderr
    protect_standard_streams()
    assert (sys.stdout, sys.stderr) == before


FIRST_LINE = b"Type I adversarial examples: the image changes class, the prediction stays.\n"


def test_help_into_a_pipe_that_is_closed_exits_with_zero(tmp_path: Path) -> None:
    command = f"set -o pipefail; {sys.executable} -m cam_adv --help | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, FIRST_LINE, b"")
