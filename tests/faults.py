"""Fault injection: `python tests/faults.py [--kills N] [--overrides N]` prints a table of faults and failures.

A small pipeline (trainings, an attack, figures) is killed at random moments and resumed until it is finished, and its
results are compared bit by bit with those of an undisturbed pipeline. Disks are small file systems in memory; where
mounting one isn't allowed, the rows say so. It takes 20 minutes on two cores.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from conftest import ONE_THREAD, save_image_folder, tiny_overrides
from rich.console import Console
from rich.table import Table
from safetensors import safe_open

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COMMAND_TIMEOUT = 120
"""Seconds after which a command counts as hanging."""

SHUTDOWN_TIMEOUT = 60
"""Seconds in which a command must end after a signal, or after the death of one of its processes."""

DISK_SIZES = (150, 400, 700, 1000, 1300, 1600, 2000, 2500)
"""Sizes of disks on which the pipeline, which needs more, is started; in kilobytes."""


@dataclass
class Row:
    """A kind of fault: how often it was tried, and what was wrong each time that it was not survived."""

    fault: str
    tried: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def count(self, failure: str | None) -> None:
        self.tried += 1
        if failure:
            self.failures.append(failure)


class Pipeline:
    """The command of one pipeline in a folder of its own, and the result that it must have."""

    def __init__(self, overrides: list[str], expected: bytes | None = None) -> None:
        self.overrides = overrides
        self.expected = expected

    def start(self, root: Path, *more: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start or resume it in `root`."""
        resumed = ["resume=run"] if (root / "run" / "config.yaml").exists() else []
        return subprocess.Popen(
            [sys.executable, "-m", *launcher, "cam_adv", *self.overrides, "hydra.run.dir=run", *resumed, *more],
            cwd=root,
            env=os.environ | ONE_THREAD,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, root: Path, *more: str) -> tuple[int, str]:
        """Run it to its end: exit code and standard error."""
        process = self.start(root, *more)
        try:
            return _wait(process)
        except subprocess.TimeoutExpired:
            process.kill()
            return -1, "it hung"

    def failure_of(self, root: Path) -> str | None:
        """What is wrong with the results of the finished pipeline; None if nothing is."""
        if incomplete := incomplete_files(root):
            return f"incomplete file: {incomplete[0]}"
        result = root / "run" / "attack.safetensors"
        if not (root / "run" / "summary.json").exists():
            return "no summary"
        return None if result.read_bytes() == self.expected else "another result"


def _wait(process: subprocess.Popen[str], seconds: float = COMMAND_TIMEOUT) -> tuple[int, str]:
    stderr = process.communicate(timeout=seconds)[1]
    return process.returncode, stderr


def incomplete_files(root: Path) -> list[str]:
    """Results, checkpoints and summaries under `root` that can't be read to their end, without `.part` files."""
    broken = []
    for path in sorted(root.rglob("*")):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".safetensors":
                with safe_open(path, "pt") as tensors:
                    list(tensors.keys())
            elif path.suffix == ".ckpt":
                torch.load(path, weights_only=True)
            elif path.name == "results.csv" and not path.read_text().endswith("\n"):
                raise ValueError("no end of line")
        except FileNotFoundError:
            continue
        except Exception:  # an incomplete file may raise anything
            broken.append(str(path.relative_to(root)))
    return broken


def kills(pipeline: Pipeline, rng: random.Random, count: int, longest: float) -> list[Row]:
    """Kill it at random moments, each time by the next signal, and resume it; a finished one is compared."""
    rows = {number: Row(f"{number.name} at a random moment") for number in SIGNALS}
    finished = Row("finished after kills, compared bit by bit")
    with TemporaryDirectory() as name:
        root = Path(name)
        while sum(row.tried for row in rows.values()) < count:
            number = SIGNALS[sum(row.tried for row in rows.values()) % len(SIGNALS)]
            process = pipeline.start(root)
            try:
                code, stderr = _wait(process, rng.uniform(1, longest))
                finished.count(pipeline.failure_of(root) if code == 0 else stderr[-300:])
                for child in root.iterdir():
                    shutil.rmtree(child)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                rows[number].count(_failure_after_signal(process, number, root))
        code, stderr = pipeline.run(root)  # the run that was killed last must finish, too
        finished.count(pipeline.failure_of(root) if code == 0 else stderr[-300:])
    return [*rows.values(), finished]


def _failure_after_signal(process: subprocess.Popen[str], number: signal.Signals, root: Path) -> str | None:
    try:
        code, stderr = _wait(process, SHUTDOWN_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return "it went on for a minute"
    if incomplete := incomplete_files(root):
        return f"incomplete file: {incomplete[0]}"
    reported = number == signal.SIGKILL or "told to end" in stderr
    if code not in (0, -number, 128 + number) or "Traceback" in stderr:
        return f"exit code {code}: {stderr[-300:]}"
    # Until the command has installed its signal handlers, a signal ends it without a message.
    return None if reported or code in (0, -number) else stderr[-300:]


@contextmanager
def disk(kilobytes: int) -> Iterator[Path | None]:
    """The folder of a file system in memory of this size; None where mounting one isn't allowed."""
    with TemporaryDirectory() as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", name]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            yield None
            return
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def full_disks(pipeline: Pipeline) -> Row:
    """Start on a disk that is too small, enlarge it, and resume."""
    row = Row("disk full, then larger")
    for size in DISK_SIZES:
        with disk(size) as root:
            if root is None:
                row.note = "mounting isn't allowed here"
                return row
            code, stderr = pipeline.run(root)
            if code == 0:
                row.note = f"{size} kB were enough"
                continue
            failure = None if "The disk is full" in stderr and "Traceback" not in stderr else stderr[-400:]
            subprocess.run(["mount", "-o", "remount,size=200m", root], check=True)
            code, stderr = pipeline.run(root)
            row.count(failure or (pipeline.failure_of(root) if code == 0 else stderr[-400:]))
    return row


def read_only_disk(pipeline: Pipeline) -> Row:
    row = Row("disk read-only")
    with disk(200_000) as root:
        if root is None:
            row.note = "mounting isn't allowed here"
            return row
        subprocess.run(["mount", "-o", "remount,ro", root], check=True)
        code, stderr = pipeline.run(root)
        refused = code == 2 and "The disk is read-only" in stderr and "Traceback" not in stderr
        row.count(None if refused else stderr[-400:])
    return row


def damaged_models(pipeline: Pipeline, rng: random.Random) -> Row:
    """Truncate each model's checkpoint in turn; it must be reported, and after its removal be trained to the same."""
    row = Row("a stored model damaged")
    with TemporaryDirectory() as name:
        root = Path(name)
        pipeline.run(root)
        for checkpoint in sorted(root.glob("outputs/models/*/model.ckpt")):
            content = checkpoint.read_bytes()
            checkpoint.write_bytes(content[: rng.randrange(len(content))])
            shutil.rmtree(root / "run")
            code, stderr = pipeline.run(root)
            reported = code == 2 and checkpoint.parent.name in stderr and "Traceback" not in stderr
            failure = None if reported else stderr[-400:]
            shutil.rmtree(checkpoint.parent)
            code, stderr = pipeline.run(root)
            row.count(failure or (pipeline.failure_of(root) if code == 0 else stderr[-400:]))
    return row


def clock_set_back(pipeline: Pipeline) -> Row:
    """Files are dated tomorrow: stored models are still used, and a run is resumed."""
    row = Row("clock set back by a day")
    with TemporaryDirectory() as name:
        root = Path(name)
        process = pipeline.start(root)
        while process.poll() is None and not any(root.glob("run/batches/*/batch_*")):
            time.sleep(0.02)
        process.kill()
        process.communicate()
        tomorrow = time.time() + 86_400
        for path in root.rglob("*"):
            os.utime(path, (tomorrow, tomorrow))
        before = {path: path.stat().st_mtime for path in root.glob("outputs/models/*/model.ckpt")}
        code, stderr = pipeline.run(root)
        same = all(path.stat().st_mtime == stamp for path, stamp in before.items())
        row.count((pipeline.failure_of(root) if code == 0 else stderr[-400:]) or (None if same else "trained again"))
    return row


def two_at_once(pipeline: Pipeline) -> Row:
    """Two runs at the same time need the same models; two in the same folder, of which one must be refused."""
    row = Row("two pipelines at once")
    with TemporaryDirectory() as name:
        root = Path(name)
        for folders in (("run", "other"), ("run", "run")):
            shutil.rmtree(root / "run", ignore_errors=True)
            shutil.rmtree(root / "other", ignore_errors=True)
            both = [pipeline.start(root, f"hydra.run.dir={folder}") for folder in folders]
            codes, errors = zip(*[_wait(process, 2 * COMMAND_TIMEOUT) for process in both], strict=True)
            expected = [0, 0] if folders[0] != folders[1] else [0, 2]
            as_expected = sorted(codes) == expected and "Traceback" not in "".join(errors)
            row.count((None if as_expected else f"{codes}: {errors}"[-400:]) or pipeline.failure_of(root))
    return row


def dead_ranks(pipeline: Pipeline, rng: random.Random, count: int) -> Row:
    """Kill one of two processes that torchrun started: the other must report it and end."""
    row, slowest = Row("a rank dies under DDP"), 0.0
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
    for number in range(count):
        with TemporaryDirectory() as name:
            root = Path(name)
            two = ("hardware=cpu_ddp", "hardware.devices=2", "attack.steps=100000", "attack.early_stop_prob=0.9999")
            process = pipeline.start(root, *two, launcher=launcher)
            deadline = time.monotonic() + COMMAND_TIMEOUT
            while not (root / "run" / "batches").is_dir() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 3))
            ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
            os.kill(int(ranks.stdout.split()[number % 2]), signal.SIGKILL)
            killed = time.monotonic()
            try:
                code, stderr = _wait(process, SHUTDOWN_TIMEOUT)
                slowest = max(slowest, time.monotonic() - killed)
                reported = code != 0 and ("has ended" in stderr or "SIGKILL" in stderr or "Signal 9" in stderr)
                row.count((None if reported else stderr[-400:]) or next(iter(incomplete_files(root)), None))
            except subprocess.TimeoutExpired:
                process.kill()
                row.count("the other went on for a minute")
    row.note = f"the other ended within {slowest:.0f} s"
    return row


INVALID_INPUT = {
    "invalid config": (
        "refused or invalid",
        ["config/test_compose.py", "config/test_command_errors.py", "schema/test_component.py", "test_cli.py"],
    ),
    "invalid data": ("", ["data/test_invalid_data.py"]),
    "invalid network": ("invalid_network or masked or other_range", ["models/test_checks.py"]),
}
"""Kinds of invalid input, with the tests that try it: an expression that selects them, and their files."""


def invalid_input() -> list[Row]:
    """Run the tests of invalid input, each of which expects a refusal in two sentences."""
    rows = []
    for fault, (expression, tests) in INVALID_INPUT.items():
        files = [str(Path(__file__).parent / test) for test in tests]
        report = subprocess.run(
            [sys.executable, "-m", "pytest", "-n0", "-k", expression, "--tb=no", "-rA", *files],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=False,
        ).stdout.splitlines()
        row = Row(fault)
        for line in report:
            if line.startswith(("PASSED", "FAILED", "ERROR")):
                row.count(None if line.startswith("PASSED") else line)
        rows.append(row)
    return rows


def random_commands(count: int) -> Row:
    """Random overrides on the command line, each of which must run or be refused in two sentences."""
    import hypothesis
    from test_fuzz import ran_or_was_refused, random_overrides, run_without_study

    row, valid = Row("random overrides"), 0

    @hypothesis.seed(0)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(random_overrides())
    def try_one(overrides: list[str]) -> None:
        nonlocal valid
        result = run_without_study(overrides)
        valid += result.code == 0
        row.count(None if ran_or_was_refused(result) else f"{overrides}: {result.err[-200:]}")

    try_one()
    row.note = f"{valid} were valid and ran"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--overrides", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        images = Path(name) / "images"
        save_image_folder(images)
        pipeline = Pipeline(tiny_overrides(images))
        undisturbed = Path(name) / "undisturbed"
        undisturbed.mkdir()
        start = time.monotonic()
        code, stderr = pipeline.run(undisturbed)
        assert code == 0, stderr
        seconds = time.monotonic() - start
        pipeline.expected = (undisturbed / "run" / "attack.safetensors").read_bytes()
        rngs = [random.Random(arguments.seed + number) for number in range(2)]
        with ThreadPoolExecutor(2) as pool:
            halves = pool.map(lambda rng: kills(pipeline, rng, arguments.kills // 2, seconds), rngs)
            rows = [_merged(pair) for pair in zip(*halves, strict=True)]
            others = [
                pool.submit(full_disks, pipeline),
                pool.submit(damaged_models, pipeline, rngs[0]),
                pool.submit(read_only_disk, pipeline),
                pool.submit(clock_set_back, pipeline),
            ]
            rows += [other.result() for other in others]
        rows += [two_at_once(pipeline), dead_ranks(pipeline, rngs[0], 4)]
    rows += [*invalid_input(), random_commands(arguments.overrides)]
    table = Table("fault", "tried", "survived", "lost", "")
    for row in rows:
        failed = len(row.failures)
        table.add_row(row.fault, str(row.tried), str(row.tried - failed), str(failed), row.note)
    Console(width=110).print(table)
    for row in rows:
        for failure in row.failures:
            print(f"{row.fault}: {failure}")


def _merged(rows: tuple[Row, ...]) -> Row:
    return Row(rows[0].fault, sum(row.tried for row in rows), [one for row in rows for one in row.failures])


if __name__ == "__main__":
    main()
