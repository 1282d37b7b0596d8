"""Fault injection: `python tests/faults.py [--kills N] [--overrides N] [--only kills]` prints a table of faults.

A small pipeline (trainings, an attack, figures), sweeps by three launchers and the other studies are killed at random
moments and resumed until they are finished, and their results are compared bit by bit with undisturbed ones. Pairs of
runs and of sweeps are started in the same second. Disks are small file systems in memory; where mounting one isn't
allowed, the rows say so. It takes half an hour on two cores.
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
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from conftest import ONE_THREAD, save_image_folder, tiny_overrides
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from safetensors import safe_open

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
COMMAND_TIMEOUT = 600
"""Seconds after which a command counts as hanging."""

ORPHAN_TIMEOUT = 10
"""Seconds in which the processes that a command has started must end after it."""

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

    def counts(self) -> dict[str, int]:
        """How many failures are of each kind."""
        kinds = Counter(_kind(failure) for failure in self.failures)
        return {kind: kinds[kind] for kind in ("lost", "mixed", "traceback", "other")}


def _kind(failure: str) -> str:
    if "Traceback" in failure:
        return "traceback"
    return next((kind for kind in ("lost", "mixed") if failure.startswith(kind)), "other")


class Pipeline:
    """A command whose folder is `run`, in a working directory of its own, and the results that it must have.

    jobs: how many, if it is a sweep. result: the pattern of its result files.
    """

    def __init__(self, name: str, overrides: list[str], jobs: int = 0, result: str = "attack.safetensors") -> None:
        self.name = name
        self.overrides = overrides
        self.jobs = jobs
        self.result = result
        self.expected: dict[str, Any] = {}
        self.seconds = 0.0

    def start(self, root: Path, *more: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start or resume it in `root`."""
        folder = ["-m", "hydra.sweep.dir=run"] if self.jobs else ["hydra.run.dir=run"]
        if (root / "run" / ("multirun.yaml" if self.jobs else "config.yaml")).exists():
            folder += ["resume=run"]
        else:  # killed in the moment in which it claimed its folder
            shutil.rmtree(root / "run", ignore_errors=True)
        return subprocess.Popen(
            [sys.executable, "-m", *launcher, "cam_adv", *folder, *self.overrides, *more],
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

    def measure(self, root: Path) -> None:
        """Run it undisturbed: its results and its time."""
        root.mkdir(exist_ok=True)
        start = time.monotonic()
        code, stderr = self.run(root)
        assert code == 0, stderr
        self.seconds = time.monotonic() - start
        self.expected = self.results(root)
        assert len(self.expected) >= max(1, self.jobs)

    def results(self, root: Path) -> dict[str, Any]:
        """The content of the result files by their paths."""
        files = (root / "run").glob(f"*/{self.result}" if self.jobs else self.result)
        return {
            str(file.relative_to(root)): _untimed(json.loads(file.read_text()))
            if file.suffix == ".json"
            else file.read_bytes()
            for file in files
        }

    def failure_of(self, root: Path) -> str | None:
        """What is wrong with the results of the finished pipeline; None if nothing is."""
        if incomplete := incomplete_files(root):
            return f"lost: incomplete file {incomplete[0]}"
        found = self.results(root)
        if found != self.expected:
            files = [name for name in self.expected if found.get(name) != self.expected[name]] or sorted(found)
            return f"lost: another result in {files[0]}"
        if self.jobs:
            rows = json.loads((root / "run" / "sweep.json").read_text())
            if [row["status"] for row in rows] != ["finished"] * self.jobs:
                return f"lost: {len(rows)} rows in the table, {[row['status'] for row in rows]}"
        return mixed(root)


def _untimed(content: Any) -> Any:
    """The content of a JSON file without times."""
    if isinstance(content, dict):
        return {key: _untimed(value) for key, value in content.items() if "second" not in key}
    return [_untimed(value) for value in content] if isinstance(content, list) else content


def mixed(root: Path) -> str | None:
    """Which job's folder has the config of another job; None if none has."""
    for file in root.glob("**/[0-9]*_seed=*/config.yaml"):
        if OmegaConf.load(file).seed != int(file.parent.name.partition("_seed=")[2]):
            return f"mixed: {file.relative_to(root)}"
    return None


def processes_in(root: Path) -> list[str]:
    """The command lines of all processes that work in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(root.resolve()):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return [line for line in found if line]


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


def kills(pipeline: Pipeline, rng: random.Random, count: int, models: Path | None = None) -> list[Row]:
    """Kill it at random moments, each time by the next signal, and resume it; a finished one is compared.

    Args:
        models: a store that has the models; None to train them each time.
    """
    row = Row(f"{pipeline.name}: SIGKILL, SIGTERM or SIGINT at a random moment")
    finished = Row(f"{pipeline.name}: finished after kills, compared bit by bit")
    with TemporaryDirectory() as name:
        root = Path(name)
        while row.tried < count:
            if models and not (root / "outputs").exists():
                shutil.copytree(models, root / "outputs" / "models")
            number = SIGNALS[row.tried % len(SIGNALS)]
            process = pipeline.start(root)
            try:
                code, stderr = _wait(process, rng.uniform(1, pipeline.seconds))
                finished.count(pipeline.failure_of(root) if code == 0 else stderr[-300:])
                for child in root.iterdir():
                    if child.name == "run" or not models:
                        shutil.rmtree(child)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                row.count(_failure_after_signal(process, number, root))
        code, stderr = pipeline.run(root)  # the run that was killed last must finish, too
        finished.count(pipeline.failure_of(root) if code == 0 else stderr[-300:])
    return [row, finished]


def _failure_after_signal(process: subprocess.Popen[str], number: signal.Signals, root: Path) -> str | None:
    try:
        code, stderr = _wait(process, SHUTDOWN_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return "it went on for a minute"
    deadline = time.monotonic() + ORPHAN_TIMEOUT
    while at_work := processes_in(root):
        if time.monotonic() > deadline:
            return f"still at work: {at_work[0]}"
        time.sleep(0.1)
    if incomplete := incomplete_files(root):
        return f"lost: incomplete file {incomplete[0]}"
    reported = number == signal.SIGKILL or "told to end" in stderr
    if code not in (0, -number, 128 + number) or "Traceback" in stderr:
        return f"exit code {code}: {stderr[-1000:]}"
    # Until the command has installed its signal handlers, a signal ends it without a message.
    return mixed(root) or (None if reported or code in (0, -number) else stderr[-300:])


def pairs(models: Path, tiny: list[str], count: int) -> Row:
    """Two commands in the same second: each must have a folder of its own, with all of its results."""
    row = Row("two runs, or two sweeps, started in the same second")
    with TemporaryDirectory() as name:
        root = Path(name)
        shutil.copytree(models, root / "outputs" / "models")
        for number in range(count):
            for folder in (*root.glob("fixed*"), root / "outputs" / "attack", root / "outputs" / "multirun"):
                shutil.rmtree(folder, ignore_errors=True)
            sweep = ["-m", *(["hydra.sweep.dir=fixed"] if number % 4 == 3 else [])] if number % 2 else []
            seeds = ("seed=0,1", "seed=2,3") if sweep else ("seed=0", "seed=1")
            both = [_start(root, [*sweep, *tiny, "figures=false", seed]) for seed in seeds]
            ends = [_wait(process) for process in both]
            bad = [f"exit code {code}: {stderr[-1000:]}" for code, stderr in ends if code or "Traceback" in stderr]
            found = sorted(
                OmegaConf.load(file).seed
                for file in root.glob("**/config.yaml")
                if (file.parent / "summary.json").exists()
            )
            expected = list(range(4 if sweep else 2))
            folders = len(list(root.glob("outputs/attack/*") if not sweep else root.glob("**/sweep.json")))
            if found != expected or folders != 2:
                bad.append(f"mixed: seeds {found} in {folders} folders")
            row.count(bad[0] if bad else mixed(root))
    return row


def _start(root: Path, arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cam_adv", *arguments],
        cwd=root,
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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


def pipelines(tiny: list[str]) -> list[Pipeline]:
    """The attack, sweeps of it, and the other studies."""
    sweep = [*tiny, "seed=0,1,2"]
    steps = [f"study.attacks.{name}.steps=6" for name in ("type1", "type2_latent")]
    trained = ["type1_images.images=20", "type1_images.refresh_epochs=2", "test_images=8", "train.steps=4"]
    trained += ["attacks.type1.steps=6", "victims=[0]", "control_victims=[1]", "adversarial_radii=[2]"]
    search = ["batches=4", "samples=4", "search.ddn.steps=10", "search.pgd.steps=5", "search.pgd.bisection_steps=3"]
    reliability = ["victims=[0,1]", "images=4", "trajectories=2", "confidence=0.5"]
    one_arm = ["~study.arms.type1_latent", "study.arms.type1_cam.attack.steps=6"]
    one_arm += ["study.arms.type1_cam.attack.confidence=0.34"]
    return [
        Pipeline("attack", tiny),
        Pipeline("sweep", sweep, 3),
        Pipeline("sweep by joblib", [*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], 3),
        Pipeline("sweep by submitit_local", [*sweep, "hydra/launcher=submitit_local"], 3),
        _study("attack_comparison", tiny, ["images=5", "n_resamples=100"], [*steps, "study.control.steps=6"]),
        _study("adversarial_training", tiny, trained),
        _study("min_perturbation", tiny, ["images=6", *search]),
        _study("explanation_reliability", tiny, reliability, one_arm),
    ]


def _study(name: str, tiny: list[str], settings: list[str], more: Sequence[str] = ()) -> Pipeline:
    overrides = [*tiny, f"study={name}", *(f"study.{one}" for one in settings), *more]
    return Pipeline(name, overrides, result=f"{name}.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=120)
    parser.add_argument("--overrides", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["kills"], help="kills and pairs, without the other faults")
    parser.add_argument("--json", type=Path, help="a file for the table")
    arguments = parser.parse_args()
    with TemporaryDirectory() as name:
        images = Path(name) / "images"
        save_image_folder(images)
        tiny = tiny_overrides(images)
        undisturbed = Path(name) / "undisturbed"
        attack, *others = tried = pipelines(tiny)
        for pipeline in tried:
            pipeline.measure(undisturbed)
            shutil.rmtree(undisturbed / "run")
        models = undisturbed / "outputs" / "models"
        rngs = [random.Random(arguments.seed + number) for number in range(len(tried))]
        count = -(-arguments.kills // (len(others) + 2))
        with ThreadPoolExecutor(2) as pool:
            # The attack trains its models anew each time, the others take them from a store.
            stores = [None, *(models for _ in others)]
            counts = [2 * count, *(count for _ in others)]
            rows = [row for pair in pool.map(kills, tried, rngs, counts, stores) for row in pair]
            rows.append(pairs(models, tiny, 8))
            if arguments.only is None:
                faults = [
                    pool.submit(full_disks, attack),
                    pool.submit(damaged_models, attack, rngs[0]),
                    pool.submit(read_only_disk, attack),
                    pool.submit(clock_set_back, attack),
                ]
                rows += [fault.result() for fault in faults]
        if arguments.only is None:
            rows += [two_at_once(attack), dead_ranks(attack, rngs[0], 4)]
    if arguments.only is None:
        rows += [*invalid_input(), random_commands(arguments.overrides)]
    table = Table("fault", "tried", "survived", "lost", "mixed", "traceback", "other", "")
    for row in rows:
        numbers = (row.tried, row.tried - len(row.failures), *row.counts().values())
        table.add_row(row.fault, *map(str, numbers), row.note)
    Console(width=140).print(table)
    if arguments.json:
        found = [asdict(row) | {"survived": row.tried - len(row.failures), "kinds": row.counts()} for row in rows]
        arguments.json.write_text(json.dumps(found, indent=2))
    for row in rows:
        for failure in row.failures:
            print(f"{row.fault}: {failure}")


if __name__ == "__main__":
    main()
