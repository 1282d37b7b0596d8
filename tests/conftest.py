"""Shared by several test files: a tiny dataset, the overrides of a tiny run, and ways to run the command line."""

import csv
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from preloaded import ONE_THREAD, CommandResult, start_command
from safetensors.torch import load_file
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from cam_adv import cli
from cam_adv.config.compose import settings_from
from cam_adv.config.settings import Settings
from cam_adv.data.load import load_dataset
from cam_adv.data.splits import ImageSplits
from cam_adv.plots import save, style
from cam_adv.studies.attack import figures

SMALL_DPI = 50
CLASS_NAMES = ("dots", "häuser", "wide stripes")

torch.set_num_threads(1)


@dataclass(frozen=True)
class HParamsRow:
    """A row of TensorBoard's HParams table: hyperparameters by key, metrics by tag."""

    hparams: dict[str, object]
    metrics: dict[str, float]

    def metrics_of(self, group: str) -> dict[str, float]:
        """The metrics whose tags start with `group`, without this prefix."""
        return {tag.removeprefix(group): value for tag, value in self.metrics.items() if tag.startswith(group)}


def read_hparams(logdir: Path) -> tuple[list[str], list[str], dict[str, HParamsRow]]:
    """TensorBoard's HParams table of a folder: hyperparameters, metrics in their order, and rows by run."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    context = backend_context.Context(TBContext(logdir=str(logdir), data_provider=provider))
    experiment = get_experiment.Handler(RequestContext(), context, "", api_pb2.GetExperimentRequest()).run()
    request = api_pb2.ListSessionGroupsRequest(slice_size=1000, allowed_statuses=[api_pb2.STATUS_SUCCESS])
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    rows = {}
    for group in groups:
        hparams = {key: getattr(value, value.WhichOneof("kind")) for key, value in group.hparams.items()}
        rows[group.name] = HParamsRow(hparams, {metric.name.tag: metric.value for metric in group.metric_values})
    names = [info.name for info in experiment.hparam_infos]
    return names, [info.name.tag for info in experiment.metric_infos], rows


def texture_images(count: int, side: int, seed: int) -> np.ndarray:
    """Grey images of three textures, `(3, count, side, side)` uint8: points, columns and rows, with noise."""
    rng = np.random.default_rng(seed)
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    patterns = [(column % 4 == 0) & (row % 4 == 0), column % 4 < 2, row % 4 < 2]
    images = np.empty((3, count, side, side), np.uint8)
    for label, pattern in enumerate(patterns):
        for number in range(count):
            shifted = np.roll(pattern, tuple(rng.integers(0, 4, 2)), (0, 1))
            images[label, number] = np.clip(200 * shifted + rng.integers(0, 40, (side, side)), 0, 255)
    return images


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an array of bytes in the format of MNIST's files: magic number, sizes, bytes."""
    header = struct.pack(f">{1 + array.ndim}i", 0x0800 + array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(root: Path, train: int, test: int, side: int = 28) -> dict[str, np.ndarray]:
    """Write MNIST's four raw files with random images, `train` and `test` of each digit.

    Returns:
        Their arrays, by file name.
    """
    rng = np.random.default_rng(0)
    arrays = {}
    for prefix, count in (("train", train), ("t10k", test)):
        labels = np.tile(np.arange(10), count)
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (len(labels), side, side), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = labels.astype(np.uint8)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in arrays.items():
        write_idx(raw / name, array)
    return arrays


def save_image_folder(root: Path) -> None:
    """Save 3 class folders with 40 images of 16×16 pixels each."""
    for name, images in zip(CLASS_NAMES, texture_images(40, 16, seed=1), strict=True):
        (root / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(root / name / f"{number:02d}.png")


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `save_image_folder` saves."""
    root = tmp_path_factory.mktemp("image_folder")
    save_image_folder(root)
    return root


@pytest.fixture(scope="session")
def tiny(image_folder: Path) -> list[str]:
    """Overrides of a run that takes seconds."""
    return tiny_overrides(image_folder)


def tiny_overrides(image_folder: Path) -> list[str]:
    """The overrides of `tiny`, for these images."""
    training = ["epochs=6", "batch_size=16", "learning_rate=0.01"]
    return [
        "dataset=image_folder",
        "model/victim=gap_cnn",
        "model/generator=svae_gan",
        "model/judge=ensemble",
        "model/surrogates=default",
        "attack=type1",
        f"dataset.root={image_folder}",
        "dataset.size=16",
        "dataset.example_pairs=[[0,1]]",
        "model.victim.network.widths=[4,8,12]",
        *[f"model.{role}.training.{change}" for role in ("victim", "judge", "surrogates") for change in training],
        "model.generator.network.latent_size=8",
        "model.generator.network.width=4",
        "model.generator.network.hidden=32",
        "model.generator.training.svae_epochs=6",
        "model.generator.training.discriminator_epochs=1",
        "model.generator.training.batch_size=16",
        "selection.images=12",
        "attack.confidence=0.4",
        "attack.learning_rate=0.1",
        "attack.steps=6",
        "attack.trace_points=4",
        "attack.batch_size=5",
        "hardware=cpu",
    ]


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The config of a command with these overrides."""
    with hydra.initialize_config_module("cam_adv.conf", version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides))


@pytest.fixture(scope="session")
def settings(tiny: list[str]) -> Settings:
    """The checked settings of the tiny run."""
    return settings_from(compose(tiny))


@pytest.fixture(scope="session")
def splits(settings: Settings) -> ImageSplits:
    """The images of the tiny run."""
    return load_dataset(settings.dataset)


def run_in_process(overrides: Sequence[str], folder: Path, all_figures: bool = False) -> CommandResult:
    """Run `cam-adv` with these overrides in `folder`, inside this process, which has imported everything.

    Unless `all_figures`, the figure of the trainings, which takes longest, is left out, and the others are small.
    """
    handlers, out, err = logging.root.handlers[:], StringIO(), StringIO()
    interrupt = signal.getsignal(signal.SIGINT)
    trainings = figures.draw_trainings if all_figures else lambda folders, path: None
    code: Any = 0
    with (
        chdir(folder),
        patch.object(sys, "argv", ["cam-adv", *overrides]),
        patch.object(figures, "draw_trainings", trainings),
        patch.object(save, "DPI", style.DPI if all_figures else SMALL_DPI),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as ending:
            code = ending.code
        finally:
            logging.root.handlers[:] = handlers  # Hydra's write to the streams that are closed here
            signal.signal(signal.SIGINT, interrupt)  # the command leaves another for the end of its process
    return CommandResult(code, out.getvalue(), err.getvalue())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., CommandResult]:
    """`run_in_process` in `tmp_path`, which is also the test's working directory."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: run_in_process(overrides, tmp_path)


@pytest.fixture(scope="session")
def command_process() -> Callable[[Sequence[str], Path], CommandResult]:
    """Runs `cam-adv` with these overrides in this folder, as a process of its own."""

    def run(overrides: Sequence[str], folder: Path) -> CommandResult:
        environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
        done = subprocess.run(
            [sys.executable, "-m", "cam_adv", *overrides],
            cwd=folder,
            env=environment | ONE_THREAD,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    return run


def start_and_kill(overrides: Sequence[str], root: Path, pattern: str) -> None:
    """Start `cam-adv` in `root`, and kill it as soon as a file there matches the glob `pattern`."""
    process = start_command(overrides, root)
    while not any(root.glob(pattern)):
        assert process.poll() is None, "the command ended before it was killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.result().code == -signal.SIGKILL


@dataclass(frozen=True)
class AttackRun:
    """A finished run: its working directory, its folder, its tensors, and the model store as it left it."""

    root: Path
    folder: Path
    tensors: dict[str, torch.Tensor]
    store: dict[str, int]

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of `results.csv`."""
        with (self.folder / "results.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        return json.loads((self.folder / "summary.json").read_text())


def page_data(page: Path) -> dict[str, Any]:
    """What the script of a page shows."""
    text = page.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


def stored_models(root: Path) -> dict[str, int]:
    """The modification time of every file of the models in the store, without its lock files."""
    files = (root / "outputs" / "models").glob("*/**/*")
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


@pytest.fixture(scope="session")
def attack_run(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> AttackRun:
    """The tiny run, whose model store other tests use too."""
    root = tmp_path_factory.mktemp("attack_run")
    result = run_in_process(
        [*tiny, "dataset.example_pairs=[[0,1],[1,0]]", "hydra.run.dir=first"], root, all_figures=True
    )
    assert result.code == 0, result.err
    return AttackRun(root, root / "first", load_file(root / "first" / "attack.safetensors"), stored_models(root))
