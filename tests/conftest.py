"""What several test files share: a tiny data set, the overrides of a tiny study, and the command line."""

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
from unittest.mock import patch

import hydra
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

from cam_adv import cli
from cam_adv.config import settings_from
from cam_adv.data.load import load_dataset
from cam_adv.data.splits import ImageSplits
from cam_adv.settings import Settings

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
CLASS_NAMES = ("dots", "häuser", "wide stripes")

torch.set_num_threads(1)


@dataclass(frozen=True)
class Answer:
    """What a command left: exit code and texts."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Compared:
    """A row of TensorBoard's HParams: its values, by key, and its metrics, by tag."""

    asked: dict[str, object]
    metrics: dict[str, float]

    def came_out(self, group: str) -> dict[str, float]:
        """The metrics of a group of tags, without its name."""
        return {tag.removeprefix(group): value for tag, value in self.metrics.items() if tag.startswith(group)}


def compared(logdir: Path) -> tuple[list[str], list[str], dict[str, Compared]]:
    """What TensorBoard's HParams shows of a folder: its keys, its metrics in order, and its rows by run."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    context = backend_context.Context(TBContext(logdir=str(logdir), data_provider=provider))
    shown = get_experiment.Handler(RequestContext(), context, "", api_pb2.GetExperimentRequest()).run()
    all_of_them = api_pb2.ListSessionGroupsRequest(slice_size=1000, allowed_statuses=[api_pb2.STATUS_SUCCESS])
    groups = list_session_groups.Handler(RequestContext(), context, "", all_of_them).run().session_groups
    rows = {}
    for group in groups:
        asked = {key: getattr(value, value.WhichOneof("kind")) for key, value in group.hparams.items()}
        rows[group.name] = Compared(asked, {metric.name.tag: metric.value for metric in group.metric_values})
    return [info.name for info in shown.hparam_infos], [info.name.tag for info in shown.metric_infos], rows


def textures(count: int, side: int, seed: int) -> np.ndarray:
    """Gray pictures of three textures, `(3, count, side, side)` uint8: points, columns and rows, with noise."""
    draw = np.random.default_rng(seed)
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    patterns = [(across % 4 == 0) & (down % 4 == 0), across % 4 < 2, down % 4 < 2]
    pictures = np.empty((3, count, side, side), np.uint8)
    for label, pattern in enumerate(patterns):
        for number in range(count):
            moved = np.roll(pattern, tuple(draw.integers(0, 4, 2)), (0, 1))
            pictures[label, number] = np.clip(200 * moved + draw.integers(0, 40, (side, side)), 0, 255)
    return pictures


def write_idx(path: Path, array: np.ndarray) -> None:
    """An array of bytes in the format of MNIST's files: magic number, sizes, bytes."""
    header = struct.pack(f">{1 + array.ndim}i", 0x0800 + array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_mnist(root: Path, train: int, test: int, side: int = 28) -> dict[str, np.ndarray]:
    """MNIST's four raw files with random pictures, `train` and `test` of each digit; what they hold, by file name."""
    draw = np.random.default_rng(0)
    content = {}
    for prefix, count in (("train", train), ("t10k", test)):
        labels = np.tile(np.arange(10), count)
        content[f"{prefix}-images-idx3-ubyte"] = draw.integers(0, 256, (len(labels), side, side), dtype=np.uint8)
        content[f"{prefix}-labels-idx1-ubyte"] = labels.astype(np.uint8)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in content.items():
        write_idx(raw / name, array)
    return content


def save_pictures(root: Path) -> None:
    """3 class folders with 40 pictures of 16×16 each."""
    for name, images in zip(CLASS_NAMES, textures(40, 16, seed=1), strict=True):
        (root / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(root / name / f"{number:02d}.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of such pictures."""
    root = tmp_path_factory.mktemp("pictures")
    save_pictures(root)
    return root


@pytest.fixture(scope="session")
def tiny(pictures: Path) -> list[str]:
    """Overrides of a study that takes seconds."""
    return tiny_study(pictures)


def tiny_study(pictures: Path) -> list[str]:
    """The overrides of `tiny`, for these pictures."""
    training = ["epochs=6", "batch_size=16", "learning_rate=0.01"]
    return [
        "dataset=image_folder",
        f"dataset.root={pictures}",
        "dataset.size=16",
        "dataset.pictures=[[0,1]]",
        "model.victim.network.widths=[4,8,12]",
        *[f"model.{role}.training.{change}" for role in ("victim", "judge", "surrogates") for change in training],
        "model.generator.network.latent_size=8",
        "model.generator.network.width=4",
        "model.generator.network.hidden=32",
        "model.generator.training.svae_epochs=6",
        "model.generator.training.discriminator_epochs=1",
        "model.generator.training.batch_size=16",
        "attack.images=12",
        "attack.confidence=0.4",
        "attack.learning_rate=0.1",
        "attack.steps=6",
        "attack.frames=4",
        "attack.batch_size=5",
        "hardware=cpu",
    ]


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The config of a command with these overrides."""
    with hydra.initialize_config_module("cam_adv.conf", version_base="1.3"):
        return hydra.compose("config", overrides=list(overrides))


@pytest.fixture(scope="session")
def settings(tiny: list[str]) -> Settings:
    """The checked settings of the tiny study."""
    return settings_from(compose(tiny))


@pytest.fixture(scope="session")
def splits(settings: Settings) -> ImageSplits:
    """Its images."""
    return load_dataset(settings.dataset)


def called(overrides: Sequence[str], folder: Path) -> Answer:
    """The command `cam-adv` with these overrides in that folder, inside this process, which has imported all."""
    handlers, out, err = logging.root.handlers[:], StringIO(), StringIO()
    code = 0
    with (
        chdir(folder),
        patch.object(sys, "argv", ["cam-adv", *overrides]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as ending:
            code = ending.code
        finally:
            logging.root.handlers[:] = handlers  # Hydra's write to streams that end here
    return Answer(code, out.getvalue(), err.getvalue())


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Answer]:
    """`called` in `tmp_path`, where the test stays."""
    monkeypatch.chdir(tmp_path)
    return lambda *overrides: called(overrides, tmp_path)


@pytest.fixture(scope="session")
def cam_adv() -> Callable[[Sequence[str], Path], Answer]:
    """The command `cam-adv` with these overrides in that folder, as a process of its own."""

    def run(overrides: Sequence[str], folder: Path) -> Answer:
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
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


def killed(overrides: Sequence[str], root: Path, moment: str) -> None:
    """Start `cam-adv` in `root`, and kill it as soon as a file matches `moment` there."""
    running = subprocess.Popen(
        [sys.executable, "-m", "cam_adv", *overrides],
        cwd=root,
        env=os.environ | ONE_THREAD,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not any(root.glob(moment)):
        assert running.poll() is None, "it ended before it was killed"
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL


@dataclass(frozen=True)
class Study:
    """The first run of all: where it was started, its folder, its tensors, and the store as it left it."""

    root: Path
    folder: Path
    tensors: dict[str, torch.Tensor]
    store: dict[str, int]

    @property
    def rows(self) -> list[dict[str, str]]:
        with (self.folder / "results.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    @property
    def summary(self) -> dict:
        return json.loads((self.folder / "summary.json").read_text())


def stored(root: Path) -> dict[str, int]:
    """Every file of the models in the store, and when it was written; locks are no models."""
    files = (root / "outputs" / "models").glob("*/**/*")
    return {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}


@pytest.fixture(scope="session")
def study(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Study:
    root = tmp_path_factory.mktemp("study")
    answer = called([*tiny, "dataset.pictures=[[0,1],[1,0]]", "hydra.run.dir=first"], root)
    assert answer.code == 0, answer.err
    return Study(root, root / "first", load_file(root / "first" / "attack.safetensors"), stored(root))
