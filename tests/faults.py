"""Faults, tried for real: `python tests/faults.py [--kills N] [--overrides N]` prints what was tried, survived, lost.

A small pipeline (trainings, an attack, figures) is killed at random moments and started again until it is done, and
what it leaves is compared bit by bit with what an undisturbed one left. Disks are small file systems in memory, which
takes the right to mount one; where that is missing, the rows say so. It takes 20 minutes on two cores.
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
from conftest import ONE_THREAD, save_pictures, tiny_study
from rich.console import Console
from rich.table import Table
from safetensors import safe_open

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGEST = 120
"""Seconds that any command may take before it counts as hanging."""

SOON = 60
"""Seconds in which the others end when one process of a command has died."""

SIZES = (150, 400, 700, 1000, 1300, 1600, 2000, 2500)
"""Kilobytes of disks on which the pipeline, which needs more, begins."""


@dataclass
class Row:
    """A kind of fault: how often it was tried and survived, and what was lost each other time."""

    fault: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)
    note: str = ""

    def count(self, trouble: str | None) -> None:
        self.tried += 1
        if trouble:
            self.lost.append(trouble)


class Pipeline:
    """The commands of one pipeline in a folder of its own, and the result that it must come to."""

    def __init__(self, overrides: list[str], expected: bytes | None = None) -> None:
        self.overrides = overrides
        self.expected = expected

    def start(self, root: Path, *more: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
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
        """Exit code, and what it said to standard error."""
        running = self.start(root, *more)
        try:
            return _end(running)
        except subprocess.TimeoutExpired:
            running.kill()
            return -1, "it hung"

    def trouble(self, root: Path) -> str | None:
        """What is wrong with a finished pipeline's results."""
        if half := half_files(root):
            return f"half a file: {half[0]}"
        result = root / "run" / "attack.safetensors"
        if not (root / "run" / "summary.json").exists():
            return "no summary"
        return None if result.read_bytes() == self.expected else "another result"


def _end(running: subprocess.Popen, seconds: float = LONGEST) -> tuple[int, str]:
    said = running.communicate(timeout=seconds)[1]
    return running.returncode, said


def half_files(root: Path) -> list[str]:
    """Results, checkpoints and summaries under `root` that can't be read to their end; `.part` files are none yet."""
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
        except Exception:  # whatever a half file raises
            broken.append(str(path.relative_to(root)))
    return broken


def kills(pipeline: Pipeline, draw: random.Random, count: int, longest: float) -> list[Row]:
    """Kill it at random moments, each time by the next signal, and go on; a finished one is compared."""
    rows = {number: Row(f"{number.name} at a random moment") for number in SIGNALS}
    finished = Row("finished after kills, compared bit by bit")
    with TemporaryDirectory() as name:
        root = Path(name)
        while sum(row.tried for row in rows.values()) < count:
            number = SIGNALS[sum(row.tried for row in rows.values()) % len(SIGNALS)]
            running = pipeline.start(root)
            try:
                code, said = _end(running, draw.uniform(1, longest))
                finished.count(pipeline.trouble(root) if code == 0 else said[-300:])
                for child in root.iterdir():
                    shutil.rmtree(child)
            except subprocess.TimeoutExpired:
                running.send_signal(number)
                rows[number].count(_after(running, number, root))
        code, said = pipeline.run(root)  # what was killed last must come to its end, too
        finished.count(pipeline.trouble(root) if code == 0 else said[-300:])
    return [*rows.values(), finished]


def _after(running: subprocess.Popen, number: signal.Signals, root: Path) -> str | None:
    try:
        code, said = _end(running, SOON)
    except subprocess.TimeoutExpired:
        running.kill()
        return "it went on for a minute"
    if half := half_files(root):
        return f"half a file: {half[0]}"
    told = number == signal.SIGKILL or "told to end" in said
    if code not in (0, -number, 128 + number) or "Traceback" in said:
        return f"exit code {code}: {said[-300:]}"
    # Before the command has imported what it ends in words with, Python or the system ends it.
    return None if told or code in (0, -number) else said[-300:]


@contextmanager
def disk(kilobytes: int) -> Iterator[Path | None]:
    """A file system in memory of this size, None where mounting one isn't allowed."""
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
    """Begin on a disk that is too small; then it grows, and the pipeline goes on."""
    row = Row("disk full, then larger")
    for size in SIZES:
        with disk(size) as root:
            if root is None:
                row.note = "mounting isn't allowed here"
                return row
            code, said = pipeline.run(root)
            if code == 0:
                row.note = f"{size} kB were enough"
                continue
            trouble = None if "The disk is full" in said and "Traceback" not in said else said[-400:]
            subprocess.run(["mount", "-o", "remount,size=200m", root], check=True)
            again, told = pipeline.run(root)
            row.count(trouble or (pipeline.trouble(root) if again == 0 else told[-400:]))
    return row


def read_only_disk(pipeline: Pipeline) -> Row:
    row = Row("disk read-only")
    with disk(200_000) as root:
        if root is None:
            row.note = "mounting isn't allowed here"
            return row
        subprocess.run(["mount", "-o", "remount,ro", root], check=True)
        code, said = pipeline.run(root)
        row.count(None if code == 2 and "The disk is read-only" in said and "Traceback" not in said else said[-400:])
    return row


def damaged_entries(pipeline: Pipeline, draw: random.Random) -> Row:
    """Each model's checkpoint is cut short in turn; the others must stay, and one trained anew must be the same."""
    row = Row("a stored model damaged")
    with TemporaryDirectory() as name:
        root = Path(name)
        pipeline.run(root)
        for checkpoint in sorted(root.glob("outputs/models/*/model.ckpt")):
            whole = checkpoint.read_bytes()
            checkpoint.write_bytes(whole[: draw.randrange(len(whole))])
            shutil.rmtree(root / "run")
            code, said = pipeline.run(root)
            named = code == 2 and checkpoint.parent.name in said and "Traceback" not in said
            shutil.rmtree(checkpoint.parent)
            code, _ = pipeline.run(root)
            row.count((None if named else said[-400:]) or (pipeline.trouble(root) if code == 0 else said[-400:]))
    return row


def clock_set_back(pipeline: Pipeline) -> Row:
    """All files are of tomorrow: what is stored is still used, and a run goes on."""
    row = Row("clock set back by a day")
    with TemporaryDirectory() as name:
        root = Path(name)
        running = pipeline.start(root)
        while running.poll() is None and not any(root.glob("run/batches/*/batch_*")):
            time.sleep(0.02)
        running.kill()
        running.communicate()
        tomorrow = time.time() + 86_400
        for path in root.rglob("*"):
            os.utime(path, (tomorrow, tomorrow))
        before = {path: path.stat().st_mtime for path in root.glob("outputs/models/*/model.ckpt")}
        code, said = pipeline.run(root)
        same = all(path.stat().st_mtime == stamp for path, stamp in before.items())
        row.count((pipeline.trouble(root) if code == 0 else said[-400:]) or (None if same else "trained anew"))
    return row


def two_at_once(pipeline: Pipeline) -> Row:
    """Two runs want the same models at the same time; and two want the same folder, of which one is refused."""
    row = Row("two pipelines at once")
    with TemporaryDirectory() as name:
        root = Path(name)
        for folders in (("run", "other"), ("run", "run")):
            shutil.rmtree(root / "run", ignore_errors=True)
            shutil.rmtree(root / "other", ignore_errors=True)
            both = [pipeline.start(root, f"hydra.run.dir={folder}") for folder in folders]
            codes, said = zip(*[_end(one, 2 * LONGEST) for one in both], strict=True)
            expected = [0, 0] if folders[0] != folders[1] else [0, 2]
            told = sorted(codes) == expected and "Traceback" not in "".join(said)
            row.count((None if told else f"{codes}: {said}"[-400:]) or pipeline.trouble(root))
    return row


def dead_ranks(pipeline: Pipeline, draw: random.Random, count: int) -> Row:
    """Of two processes that torchrun started one is killed: the other must say so, and end."""
    row, slowest = Row("a rank dies under DDP"), 0.0
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
    for number in range(count):
        with TemporaryDirectory() as name:
            root = Path(name)
            two = ("hardware=cpu_ddp", "hardware.devices=2", "attack.steps=100000", "attack.rest_at=0.9999")
            running = pipeline.start(root, *two, launcher=launcher)
            deadline = time.monotonic() + LONGEST
            while not (root / "run" / "batches").is_dir() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(draw.uniform(0, 3))
            ranks = subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=False)
            os.kill(int(ranks.stdout.split()[number % 2]), signal.SIGKILL)
            killed = time.monotonic()
            try:
                code, said = _end(running, SOON)
                slowest = max(slowest, time.monotonic() - killed)
                told = code != 0 and ("has ended" in said or "SIGKILL" in said or "Signal 9" in said)
                row.count((None if told else said[-400:]) or next(iter(half_files(root)), None))
            except subprocess.TimeoutExpired:
                running.kill()
                row.count("the others went on for a minute")
    row.note = f"the others ended within {slowest:.0f} s"
    return row


def wrong_input() -> list[Row]:
    """The tables of wrong configs and data that the tests refuse, each with its sentence."""
    rows = []
    for fault, chosen, tests in (
        ("a wrong config", "cannot_be_used or in_words or wrong_values", ["test_config.py", "test_bad_input.py"]),
        ("wrong data", "", ["test_bad_data.py"]),
        ("a victim that can't be believed", "cannot_be_believed", ["test_trouble.py"]),
    ):
        files = [str(Path(__file__).with_name(test)) for test in tests]
        report = subprocess.run(
            [sys.executable, "-m", "pytest", "-n0", "-k", chosen, "--tb=no", "-rA", *files],
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


def fuzzed(count: int) -> Row:
    """Random overrides through the command line, each in words or through."""
    import hypothesis
    from test_fuzz import asked, in_words, overrides

    row, through = Row("random overrides"), 0

    @hypothesis.seed(0)
    @hypothesis.settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(overrides())
    def try_one(some: list[str]) -> None:
        nonlocal through
        answer = asked(some)
        through += answer.code == 0
        row.count(None if in_words(answer) else f"{some}: {answer.err[-200:]}")

    try_one()
    row.note = f"{through} were sound and ran"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--overrides", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with TemporaryDirectory() as name:
        pictures = Path(name) / "pictures"
        save_pictures(pictures)
        pipeline = Pipeline(tiny_study(pictures))
        undisturbed = Path(name) / "undisturbed"
        undisturbed.mkdir()
        began = time.monotonic()
        code, said = pipeline.run(undisturbed)
        assert code == 0, said
        took = time.monotonic() - began
        pipeline.expected = (undisturbed / "run" / "attack.safetensors").read_bytes()
        draws = [random.Random(asked.seed + number) for number in range(2)]
        with ThreadPoolExecutor(2) as two:
            halves = two.map(lambda draw: kills(pipeline, draw, asked.kills // 2, took), draws)
            rows = [_joined(pair) for pair in zip(*halves, strict=True)]
            others = [
                two.submit(full_disks, pipeline),
                two.submit(damaged_entries, pipeline, draws[0]),
                two.submit(read_only_disk, pipeline),
                two.submit(clock_set_back, pipeline),
            ]
            rows += [other.result() for other in others]
        rows += [two_at_once(pipeline), dead_ranks(pipeline, draws[0], 4)]
    rows += [*wrong_input(), fuzzed(asked.overrides)]
    table = Table("fault", "tried", "survived", "lost", "")
    for row in rows:
        table.add_row(row.fault, str(row.tried), str(row.tried - len(row.lost)), str(len(row.lost)), row.note)
    Console(width=110).print(table)
    for row in rows:
        for lost in row.lost:
            print(f"{row.fault}: {lost}")


def _joined(rows: tuple[Row, ...]) -> Row:
    return Row(rows[0].fault, sum(row.tried for row in rows), [lost for row in rows for lost in row.lost])


if __name__ == "__main__":
    main()
