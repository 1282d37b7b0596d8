"""Random input: overrides, files and attacks. Whatever the input, it works or it is refused in two sentences.

`tests/faults.py` tries many more random overrides than a test run has time for.
"""

import json
import random
import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
import torch
from conftest import CommandResult, compose, run_in_process, write_mnist
from hypothesis import HealthCheck, given, settings
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from cam_adv import api
from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attacks.pgd import pgd
from cam_adv.attacks.predict import AttackDataModule, batch_file
from cam_adv.attacks.result import AttackResult
from cam_adv.data.selection import Selection
from cam_adv.data.sources import image_folder, torchvision_images
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.victims import GapCNN
from cam_adv.runtime.run_dir import check_resumable
from cam_adv.runtime.tensor_files import load_tensors
from cam_adv.sweep.record import JobRecord
from cam_adv.training.store import StoreEntry

SOME_EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


# Overrides

VALUES = [
    *("", "null", "true", "-1", "0", "1", "2", "3.5", "1e309", "-inf", "nan", "1e-400", "99999999999999999999"),
    *("[]", "{}", "[1", "{a:1}", "[7,9]", "[[7,9]]", "{_target_:os.getcwd}", "'", '"x y"', "a b", "a=b", "a,b", "\\"),
    *("???", "${seed}", "${nowhere}", "${oc.env:NOWHERE}", "${run_folder:1,2}", "${", "}", "$x", "@", "~", "+", "%"),
    *("häuser", "犬", "\u202e", "../..", "/etc/passwd", "type1", "pgd", "mnist", "standard", "latest", "range(1,4)"),
    *("choice(1,2)", "glob(*)", "int(3)", "str([1])", "{{", "#", "!!python/object:os.system", "a" * 300, "0x10"),
]
GROUPS = (
    *("attack", "dataset", "model/victim", "model/generator", "model/judge", "model/surrogates", "hardware", "study"),
    *("experiment", "attribution@x", "attack@study.attacks.pgd", "control@study.controls.y", "hydra/launcher"),
    *("hydra/sweeper", "no/such", "explanation@x", "attack@kinds.attacks.pgd", "kinds", "defence", "bound", "stage"),
)
CHOICES = (
    *("type1", "pgd", "mnist", "mnist_5k", "image_folder", "lenet", "own", "cpu_ddp", "gpu", "roc", "standard"),
    *("attack_comparison", "adversarial_training", "explanation_reliability", "min_perturbation", "all_pairs"),
)
STUDIES = ("attack", "attack_comparison", "adversarial_training", "explanation_reliability", "min_perturbation")


@cache
def default_values() -> dict[str, Any]:
    """Every value of the config, with the keys of all these studies, by its key."""
    configs = [compose([f"study={study}"]) for study in STUDIES]
    return {path: OmegaConf.select(config, path) for config in configs for path in paths(config)}


def paths(config: Any, prefix: str = "") -> list[str]:
    """Every key of a nested mapping as a dotted path."""
    if not OmegaConf.is_dict(config):
        return []
    nodes = {f"{prefix}{key}": config._get_node(key) for key in config}
    return [path for name, node in nodes.items() for path in (name, *paths(node, f"{name}."))]


def random_overrides() -> st.SearchStrategy[list[str]]:
    """Up to three overrides: some with the values of the config, most of them invalid in one way or another."""
    values = default_values()
    keys = sorted(values)
    key = st.one_of(st.sampled_from(keys), st.sampled_from(GROUPS), st.text(max_size=12))
    value = st.one_of(st.sampled_from(VALUES), st.sampled_from(CHOICES), st.integers().map(str), st.text(max_size=8))
    sign = st.sampled_from(["", "", "", "+", "++"])
    arbitrary = st.tuples(sign, key, value).map(lambda parts: "{}{}={}".format(*parts))
    numbers = [name for name in keys if type(values[name]) in (int, float) and not name.startswith("study")]
    valid = st.sampled_from(numbers).map(lambda name: f"{name}={values[name]}")
    study = st.sampled_from(STUDIES).map("study={}".format)
    removal = key.map("~{}".format)
    # No override may change the run's folder, start a sweep or resume a run.
    excluded = ("hydra", "-", "outputs", "name", "resume")
    return st.lists(st.one_of(arbitrary, valid, valid, study, removal), min_size=1, max_size=3).filter(
        lambda overrides: not any(override.lstrip("+~").startswith(excluded) for override in overrides)
    )


def run_without_study(overrides: list[str]) -> CommandResult:
    """The result of the command, in which a study that may start does nothing."""
    with TemporaryDirectory() as folder, patch.object(api, "run_study", lambda *_: None):
        return run_in_process(overrides, Path(folder))


def ran_or_was_refused(result: CommandResult) -> bool:
    """Whether the command ran, or was refused with one sentence about the error and one about the remedy."""
    if result.code == 0:
        return True
    lines = [line for line in result.err.splitlines() if line.strip()]
    return result.code == 2 and lines[0].startswith("cam-adv: ") and len(lines) >= 2 and "Traceback" not in result.err


@pytest.mark.slow
@given(random_overrides())
@SOME_EXAMPLES
def test_random_overrides_run_or_are_refused(overrides: list[str]) -> None:
    result = run_without_study(overrides)
    assert ran_or_was_refused(result), result


def test_valid_overrides_run_and_invalid_ones_are_refused() -> None:
    """Refusing everything would satisfy the test above."""
    assert run_without_study(["attack.strength=3", "seed=4", "study=attack_comparison"]).code == 0
    assert run_without_study(["attack.strength=-3"]).code == 2


# Files


def damaged(content: bytes, seed: int) -> bytes:
    """The content truncated, with some bytes changed, or with more bytes at its end."""
    rng = random.Random(seed)
    kind, changed = rng.randrange(4), bytearray(content)
    if kind == 0:
        return bytes(changed[: rng.randrange(len(changed))])
    if kind == 1:
        return bytes(changed) + rng.randbytes(rng.randrange(1, 50))
    start = 0 if kind == 2 else rng.randrange(len(changed))  # in the header, or anywhere
    for position in range(start, min(len(changed), start + rng.randrange(1, 40))):
        changed[position] = rng.randrange(256)
    return bytes(changed)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    write_mnist(root, train=2, test=1)
    return root


@given(st.integers(0, 2**32))
@SOME_EXAMPLES
def test_damaged_idx_file_is_read_whole_or_refused(mnist: Path, seed: int) -> None:
    files = sorted((mnist / "MNIST" / "raw").iterdir())
    file = files[seed % len(files)]
    content = file.read_bytes()
    file.write_bytes(damaged(content, seed))
    try:
        train, test, _ = torchvision_images("MNIST", str(mnist), download=False)
    except UserError as refusal:
        assert "MNIST" in refusal.what
    else:
        for part in (train, test):
            assert part is not None
            assert part.images.dtype == torch.uint8
            assert len(part.images) == len(part.labels)
            assert 0 <= part.labels.min() <= part.labels.max() <= 9
    finally:
        file.write_bytes(content)


@given(st.binary(max_size=200))
@SOME_EXAMPLES
def test_random_bytes_are_no_image(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        for name in "ab":
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "1.png").write_bytes(content)
        with pytest.raises(UserError, match=r"can't be read as an? (image|picture)"):
            image_folder(folder, 8, True)


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> StoreEntry:
    entry = StoreEntry(tmp_path_factory.mktemp("store"), "linear", {"seed": 0})

    def train(folder: Path) -> dict[str, float]:
        torch.save({"state_dict": nn.Linear(2, 3).state_dict()}, folder / "model.ckpt")
        return {"accuracy": 0.5}

    entry.get_or_train(train)
    return entry


@given(st.integers(0, 2**32), st.sampled_from(["model.ckpt", "metrics.json"]))
@SOME_EXAMPLES
def test_damaged_store_entry_is_loaded_or_refused(entry: StoreEntry, seed: int, name: str) -> None:
    file = entry.folder / name
    content, network = file.read_bytes(), nn.Linear(2, 3)
    file.write_bytes(damaged(content, seed))
    try:
        entry.load_into(network)
    except UserError as refusal:
        assert str(entry.folder) in refusal.what + refusal.remedy
    else:
        assert (network.weight.shape, network.bias.shape) == ((3, 2), (3,))
        assert all(isinstance(value, float | int) for value in entry.metrics().values())
    finally:
        file.write_bytes(content)


@cache
def resumed_config() -> str:
    return OmegaConf.to_yaml(compose(["resume=latest"]), resolve=True)


@given(st.integers(0, 2**32))
@SOME_EXAMPLES
def test_damaged_job_record_and_config_are_read_or_refused(seed: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        config = resumed_config()
        (folder / "config.yaml").write_bytes(damaged(config.encode(), seed))
        JobRecord(3, ("seed=1",)).write(folder)
        record = folder / "job.json"
        record.write_bytes(damaged(record.read_bytes(), seed))
        for read in (lambda: check_resumable(folder, config), lambda: JobRecord.read(folder)):
            try:
                read()
            except UserError as refusal:
                assert str(folder) in refusal.what


@pytest.mark.parametrize("with_codes", [True, False])
@given(st.integers(0, 2**32))
@SOME_EXAMPLES
def test_damaged_batch_file_is_read_whole_or_attacked_again(with_codes: bool, seed: int) -> None:
    numbers = torch.arange(4)
    data = LabelledImages(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), numbers)
    with TemporaryDirectory() as name:
        file = batch_file(Path(name), 0)
        images, codes = torch.rand(4, 1, 2, 2), torch.rand(4, 3)
        result = AttackResult(
            x=images,
            x_adv=images,
            y=numbers,
            target=numbers,
            start=numbers,
            steps=numbers,
            diverged=numbers < 0,
            terms={} if with_codes else {"J1 victim": torch.rand(4, 2)},
            **({"z0": codes, "z_start": codes, "z": codes, "path": codes[:, None]} if with_codes else {}),
            residual_path=images[:, None] - 0.5 if with_codes else None,
        )
        tensors = {key: value.clone() for key, value in result.tensors().items()}
        save_file(tensors | {"seconds": torch.tensor(1.0)}, file)
        file.write_bytes(damaged(file.read_bytes(), seed))
        module = AttackDataModule(data, Selection(numbers, numbers, numbers), 4, Path(name))
        if not module.left:
            found = module.results()
            assert {key: value.shape for key, value in found.tensors().items()} == {
                key: value.shape for key, value in result.tensors().items()
            }


@pytest.mark.parametrize(
    "header", [b"", b"{}", b'{"x":1}', b'{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}']
)
def test_tensor_file_with_invalid_header_is_refused(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    try:
        assert load_tensors(file) == {}
    except Exception as error:
        assert type(error).__name__ == "SafetensorError"


@pytest.mark.parametrize("content", ["[]", "3", "null", '"x"', '{"number": 1}', '{"number": 1, "overrides": 3}'])
def test_json_file_that_is_no_job_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.json").write_text(json.dumps(json.loads(content)))
    with pytest.raises(UserError, match="can't be read"):
        JobRecord.read(tmp_path)


# Attacks


@given(st.integers(0, 2**32), st.sampled_from(["linf", "l2"]), st.floats(0, 3))
@SOME_EXAMPLES
def test_pgd_with_random_networks_stays_in_its_ball(seed: int, norm: Any, epsilon: float) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed % 2**31)
    side, channels, count = rng.randrange(4, 20), rng.choice([1, 3]), rng.randrange(1, 5)
    convolution = nn.Conv2d(channels, 4, 3)
    network = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    if rng.random() < 0.3:  # a layer that returns NaN for some images
        network.append(nn.Hardtanh(-rng.random(), rng.random()))
        convolution.weight.data *= rng.choice([1, 1e20, torch.nan])
    x, y = torch.rand(count, channels, side, side), torch.randint(3, (count,))
    x_adv = pgd(network, x, y, epsilon, norm, steps=3, step_size=epsilon / 2, start=x)
    distance = (x_adv - x).flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)
    assert x_adv.isfinite().all()
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert distance.max() <= epsilon * (1 + 1e-5) + 1e-6


@cache
def type1_values() -> dict[str, Any]:
    values: Any = OmegaConf.to_container(compose().attack, resolve=True)
    del values["_target_"]
    return values


@given(st.integers(0, 2**32), st.one_of(st.none(), st.floats(0, 100)), st.sampled_from([1e-3, 0.2, 50.0]))
@SOME_EXAMPLES
def test_latent_attack_with_random_networks_stays_finite_and_in_its_ball(
    seed: int, strength: float | None, learning_rate: float
) -> None:
    rng = random.Random(seed)
    torch.manual_seed(seed % 2**31)
    side, channels, count = rng.randrange(8, 20), rng.choice([1, 3]), rng.randrange(1, 5)
    size, classes = (side, side + rng.randrange(3)), rng.randrange(2, 5)
    generator = SVAE(channels, classes, size, latent_size=rng.randrange(1, 6), width=2, hidden=4).eval()
    victim, surrogate = (GapCNN(channels, classes, (2, 3, 4)).eval() for _ in range(2))
    scale = rng.choice([1, 1, 1e10, 1e38, torch.nan])
    generator.decoder.body[0].weight.data *= scale
    eps, norm = rng.choice([0.0, 1e-3, 0.3, 20.0]), rng.choice(["l2", "linf"])
    changes: dict[str, Any] = {"steps": 4, "trace_points": 3, "strength": strength, "learning_rate": learning_rate}
    changes |= {
        "init": rng.choice([["mean"], ["real_image"], ["mean", "real_image"]]),
        "init_candidates": rng.randrange(1, 20),
        "residual": {"eps": eps, "norm": norm, "scale": rng.choice([0.02, 1.0])},
        "weights": type1_values()["weights"] | {"density": rng.choice([0.0, 0.3, 50.0])},
    }
    attack = LatentAttack(**type1_values() | changes)
    x, y = torch.rand(count, channels, *size), torch.randint(classes, (count,))
    real = LabelledImages(torch.rand(4 * classes, channels, *size), torch.arange(classes).repeat(4))
    result = BoundAttack(attack, AttackModels(victim, generator, [surrogate], real, real))(x, y, (y + 1) % classes)
    for codes in (result.z_start, result.z, result.path):
        assert codes.isfinite().all()
    assert (result.residual_path is None) == (eps == 0)
    if result.residual_path is not None:
        sizes = result.residual_path.flatten(2).norm(dim=2, p=torch.inf if norm == "linf" else 2)
        assert (sizes <= eps * (1 + 1e-5)).all()
    if strength is not None:
        assert ((result.z - result.z0).norm(dim=1) <= strength * (1 + 1e-4) + 1e-4).all()
    finite = ~result.diverged
    assert result.x_adv[finite].isfinite().all()
    assert (result.x_adv[finite] >= 0).all()
    assert (result.x_adv[finite] <= 1).all()
    assert finite.all() or scale != 1 or learning_rate == 50.0
