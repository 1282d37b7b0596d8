"""How well a device is used: `python -m cam_adv.benchmark gpu`. Runs on a CPU too, on fewer images."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cam_adv.api import load
from cam_adv.attacks.latent.recorded_steps import CUDAGraphRecorder
from cam_adv.benchmark.attack import (
    BareParts,
    latent_attack,
    repeated_selection,
    selected_images,
    successes,
    timed_run,
)
from cam_adv.benchmark.comparison import timed
from cam_adv.benchmark.machine import count_flops, matmul_flops_per_second, peak_memory
from cam_adv.benchmark.start_up import COMMAND
from cam_adv.errors import UserError
from cam_adv.runtime.atomic_files import write_json
from cam_adv.studies.context import StudyContext
from cam_adv.training.store import METRICS

FILE = Path("benchmark_gpu.json")
NO_EARLY_STOP = ["attack.early_stop_prob=0.999999", "attack.init=[mean]"]

ROUNDS = 10
"""How often bare parts are computed for one time."""


@dataclass(frozen=True)
class Sizes:
    """What is measured on a kind of device.

    batches: images that are attacked together, for the time of a step.
    steps: the time of a step is the difference between attacks of these many.
    images: of an attack from end to end.
    compared: images whose verdicts are compared with the CPU's.
    """

    batches: tuple[int, ...]
    steps: tuple[int, int]
    images: int
    compared: int


GPU = Sizes(batches=(128, 1024, 8192), steps=(30, 130), images=8192, compared=1000)
CPU = Sizes(batches=(16, 64), steps=(2, 6), images=64, compared=0)


@dataclass(frozen=True)
class Figure:
    """One line of the benchmark."""

    name: str
    value: float
    unit: str


def main(overrides: list[str], file: Path) -> None:
    """Measure, print each figure as it comes, and write all of them.

    Args:
        overrides: of every command, such as dataset=mnist. file: of the results.
    """
    on_gpu = torch.cuda.is_available()
    device, sizes = (torch.device("cuda"), GPU) if on_gpu else (torch.device("cpu"), CPU)
    name = torch.cuda.get_device_name() if on_gpu else "CPU"
    print(f"{name}, torch {torch.__version__}")
    figures = []
    with TemporaryDirectory() as outputs:
        own = [*overrides, f"outputs={outputs}"]
        for figure in chain(time_commands(own, Path(outputs)), measure(own, device, sizes)):
            print(f"{figure.name}: {figure.value:.4g} {figure.unit}".rstrip(), flush=True)
            figures.append(figure)
    write_json(file, {"device": name, "torch": torch.__version__, "figures": [asdict(one) for one in figures]})


def time_commands(overrides: list[str], outputs: Path) -> Iterator[Figure]:
    """Seconds of the first run, of each training in it, and of the second run.

    Args:
        outputs: the empty folder that the overrides name.
    """

    def work() -> None:
        done = subprocess.run([*COMMAND, *overrides], capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"cam-adv {' '.join(overrides)} failed: {done.stderr.strip()}", "Run it by itself.")

    run = timed(work)
    yield Figure("cam-adv, the first time", run(), "s")
    for metrics in sorted((outputs / "models").glob(f"*/{METRICS}")):
        began = min(float(file.name.split(".")[3]) for file in metrics.parent.glob("events.out.tfevents.*"))
        name = metrics.parent.name.rpartition("-")[0]  # without the digest
        yield Figure(f"of it the training of {name}", metrics.stat().st_mtime - began, "s")
    yield Figure("cam-adv, the second time", run(), "s")


def measure(overrides: list[str], device: torch.device, sizes: Sizes) -> Iterator[Figure]:
    """Steps, an attack from end to end, memory, and agreement with the CPU, with the models in the store."""
    matmul_rate = matmul_flops_per_second(device)
    yield Figure("matrix product", matmul_rate / 1e9, "GFLOP/s")
    context = load(*overrides, *NO_EARLY_STOP)
    for batch in sizes.batches:
        yield from _step(context, batch, sizes.steps, device, matmul_rate)
    yield from _attack(context, sizes.images, device)
    if sizes.compared:
        yield from _agreement(overrides, sizes.compared)
    yield Figure("peak memory of the process", peak_memory() / 1e9, "GB")


def _step(
    context: StudyContext, batch: int, steps: tuple[int, int], device: torch.device, matmul_rate: float
) -> Iterator[Figure]:
    """The time of a step, and of its bare parts one by one and recorded."""
    config, images = latent_attack(context), selected_images(context, repeated_selection(context, batch), device)
    few, many = (
        _seconds(
            partial(context.bind(config.model_copy(update={"steps": count, "trace_points": 2})), *images), device
        )
        for count in steps
    )
    seconds = (many - few) / (steps[1] - steps[0])
    yield Figure(f"step, {batch} images", 1e3 * seconds, "ms")
    bare = BareParts(context.bind(config), *images)
    kinds = max(1, len(bare.proxies))
    each = [partial(bare.step, number) for number in range(kinds)]
    seconds_bare = _seconds(partial(_call, ROUNDS * each), device) / (ROUNDS * kinds)
    yield Figure(f"its bare parts, {batch} images", 1e3 * seconds_bare, "ms")
    if device.type == "cuda":
        recorder = CUDAGraphRecorder()
        recorded = [recorder.record(work) for work in each]
        seconds_recorded = _seconds(partial(_call, ROUNDS * recorded), device) / (ROUNDS * kinds)
        yield Figure(f"its bare parts as CUDA graphs, {batch} images", 1e3 * seconds_recorded, "ms")
    rate = count_flops(partial(_call, each)) / kinds / seconds
    yield Figure(f"share of the matrix product's rate, {batch} images", 100 * rate / matmul_rate, "%")


def _attack(context: StudyContext, images: int, device: torch.device) -> Iterator[Figure]:
    """An attack of all its steps as in a run: with the trainer and its files."""
    rate = context.attack.steps_per_init / timed_run(context, images)()
    yield Figure(f"image-steps a second from end to end, {images} images", rate, "")
    if device.type == "cuda":
        yield Figure("peak memory of the GPU", torch.cuda.max_memory_allocated() / 1e9, "GB")


def _agreement(overrides: list[str], images: int) -> Iterator[Figure]:
    """How many verdicts of an attack on this device are those of the CPU."""
    verdicts, others = [], [override for override in overrides if not override.startswith("hardware")]
    for hardware in ("gpu", "cpu"):
        context = load(*others, f"hardware={hardware}")
        selection = repeated_selection(context, images)
        result = context.run_attack(context.bind(), selection)
        verdicts.append((result.x, successes(context, selection, result.x_adv)))
    (x_gpu, on_gpu), (x_cpu, on_cpu) = verdicts
    yield Figure(f"verdicts equal to the CPU's, {images} images", 100 * (on_gpu == on_cpu).float().mean().item(), "%")
    yield Figure("pixels of x equal to the CPU's", 100 * (x_gpu == x_cpu).float().mean().item(), "%")


def _call(parts: Sequence[Callable[[], None]]) -> None:
    for part in parts:
        part()


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the second of two calls."""

    def finished() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()

    finished()
    return timed(finished)()
