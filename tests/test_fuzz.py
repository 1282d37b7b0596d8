"""Random input: overrides, files and attacks. Whatever comes, it works or it is refused in words.

`tests/faults.py` asks far more often than a test run has time for.
"""

import json
import random
import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
import torch
from conftest import Answer, called, compose, write_mnist
from hypothesis import HealthCheck, given, settings
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from cam_adv import study
from cam_adv.attack.latent_attack import LatentAttack
from cam_adv.attack.module import AttackDataModule, batch_file
from cam_adv.attack.norm_bounded import pgd
from cam_adv.attack.result import AttackResult, load_tensors
from cam_adv.attack.selection import Selection
from cam_adv.cli import _paths
from cam_adv.data.sources import image_folder, torchvision_images
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.networks.svae import SVAE
from cam_adv.networks.victims import GapCNN
from cam_adv.run_folder import check_resumable
from cam_adv.settings import LatentAttackSettings
from cam_adv.sweep.record import Record
from cam_adv.training.store import Entry

SOMETIMES = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


# Overrides

VALUES = [
    *("", "null", "true", "-1", "0", "1", "2", "3.5", "1e309", "-inf", "nan", "1e-400", "99999999999999999999"),
    *("[]", "{}", "[1", "{a:1}", "[7,9]", "[[7,9]]", "{_target_:os.getcwd}", "'", '"x y"', "a b", "a=b", "a,b", "\\"),
    *("???", "${seed}", "${nowhere}", "${oc.env:NOWHERE}", "${run_folder:1,2}", "${", "}", "$x", "@", "~", "+", "%"),
    *("häuser", "犬", "\u202e", "../..", "/etc/passwd", "type1", "pgd", "mnist", "standard", "latest", "range(1,4)"),
    *("choice(1,2)", "glob(*)", "int(3)", "str([1])", "{{", "#", "!!python/object:os.system", "a" * 300, "0x10"),
]
GROUPS = (
    *("attack", "dataset", "model/victim", "model/generator", "model/judge", "model/surrogates", "hardware", "kinds"),
    *("experiment", "defence", "reliability", "bound", "explanation@x", "attack@kinds.attacks.pgd", "hydra/launcher"),
    *("hydra/sweeper", "control@reliability.controls.y", "no/such"),
)
CHOICES = ("type1", "pgd", "mnist", "mnist_5k", "image_folder", "lenet", "own", "roc", "standard", "cpu_ddp", "gpu")


@cache
def plain() -> dict[str, object]:
    """Every value of the config with all its studies, by its key."""
    whole = OmegaConf.to_container(compose(["kinds=standard", "defence=standard", "reliability=standard"]))
    return {path: OmegaConf.select(OmegaConf.create(whole), path) for path in _paths(whole)}


def overrides() -> st.SearchStrategy[list[str]]:
    """Up to three overrides: some as the config has them, most of them wrong in one way or another."""
    keys = sorted(plain())
    key = st.one_of(st.sampled_from(keys), st.sampled_from(GROUPS), st.text(max_size=12))
    value = st.one_of(st.sampled_from(VALUES), st.sampled_from(CHOICES), st.integers().map(str), st.text(max_size=8))
    sign = st.sampled_from(["", "", "", "+", "++"])
    written = st.tuples(sign, key, value).map(lambda parts: "{}{}={}".format(*parts))
    studied = ("kinds", "defence", "reliability")
    scalars = [one for one in keys if type(plain()[one]) in (int, float) and not one.startswith(studied)]
    sound = st.sampled_from(scalars).map(lambda one: f"{one}={plain()[one]}")
    dropped = key.map("~{}".format)
    # No override may send Hydra elsewhere than to this process's own folder, nor ask it for a whole sweep.
    elsewhere = ("hydra", "-", "outputs", "name", "resume")
    return st.lists(st.one_of(written, sound, sound, dropped), min_size=1, max_size=3).filter(
        lambda asked: not any(one.lstrip("+~").startswith(elsewhere) for one in asked)
    )


def asked(overrides: list[str]) -> Answer:
    """What the command answers, where a study that may begin does nothing."""
    with TemporaryDirectory() as folder, patch.object(study, "run", lambda *_: None):
        return called(overrides, Path(folder))


def in_words(answer: Answer) -> bool:
    """Whether it ran, or was refused with one sentence what and one what to do."""
    if answer.code == 0:
        return True
    said = [line for line in answer.err.splitlines() if line.strip()]
    return answer.code == 2 and said[0].startswith("cam-adv: ") and len(said) >= 2 and "Traceback" not in answer.err


@given(overrides())
@SOMETIMES
def test_overrides_run_or_are_refused_in_words(overrides: list[str]) -> None:
    answer = asked(overrides)
    assert in_words(answer), answer


def test_what_is_fuzzed_is_not_all_wrong() -> None:
    """Sound overrides come through the same door, so that refusing everything would be noticed."""
    assert asked(["attack.strength=3", "seed=4", "experiment=roc"]).code == 0
    assert asked(["attack.strength=-3"]).code == 2


# Files


def damaged(content: bytes, seed: int) -> bytes:
    """A file cut short, with bytes changed, or with more at its end."""
    draw = random.Random(seed)
    kind, found = draw.randrange(4), bytearray(content)
    if kind == 0:
        return bytes(found[: draw.randrange(len(found))])
    if kind == 1:
        return bytes(found) + draw.randbytes(draw.randrange(1, 50))
    start = 0 if kind == 2 else draw.randrange(len(found))  # the header, or anywhere
    for place in range(start, min(len(found), start + draw.randrange(1, 40))):
        found[place] = draw.randrange(256)
    return bytes(found)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fuzz")
    write_mnist(root, train=2, test=1)
    return root


@given(st.integers(0, 2**32))
@SOMETIMES
def test_idx_files_are_read_whole_or_refused(mnist: Path, seed: int) -> None:
    files = sorted((mnist / "MNIST" / "raw").iterdir())
    file = files[seed % len(files)]
    whole = file.read_bytes()
    file.write_bytes(damaged(whole, seed))
    try:
        train, test, _ = torchvision_images("MNIST", str(mnist), download=False)
    except UserError as refusal:
        assert "MNIST" in refusal.what
    else:
        for part in (train, test):
            assert part.images.dtype == torch.uint8
            assert len(part.images) == len(part.labels)
            assert 0 <= part.labels.min() <= part.labels.max() <= 9
    finally:
        file.write_bytes(whole)


@given(st.binary(max_size=200))
@SOMETIMES
def test_pictures_are_read_or_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        for name in "ab":
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "1.png").write_bytes(content)
        with pytest.raises(UserError, match="can't be read as a picture"):
            image_folder(folder, 8, True)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    entry = Entry(tmp_path_factory.mktemp("store"), "linear", {"seed": 0})

    def train(folder: Path) -> dict[str, float]:
        torch.save({"state_dict": nn.Linear(2, 3).state_dict()}, folder / "model.ckpt")
        return {"accuracy": 0.5}

    entry.create(train)
    return entry


@given(st.integers(0, 2**32), st.sampled_from(["model.ckpt", "metrics.json"]))
@SOMETIMES
def test_stored_models_are_loaded_or_refused(stored: Entry, seed: int, name: str) -> None:
    file = stored.folder / name
    whole, network = file.read_bytes(), nn.Linear(2, 3)
    file.write_bytes(damaged(whole, seed))
    try:
        stored.load_into(network)
    except UserError as refusal:
        assert str(stored.folder) in refusal.what + refusal.remedy
    else:
        assert (network.weight.shape, network.bias.shape) == ((3, 2), (3,))
        assert all(isinstance(value, float | int) for value in stored.metrics().values())
    finally:
        file.write_bytes(whole)


@cache
def resumed() -> str:
    return OmegaConf.to_yaml(compose(["resume=latest"]), resolve=True)


@given(st.integers(0, 2**32))
@SOMETIMES
def test_records_and_configs_are_read_or_refused(seed: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        config = resumed()
        (folder / "config.yaml").write_bytes(damaged(config.encode(), seed))
        Record(3, ("seed=1",)).write(folder)
        record = folder / "job.json"
        record.write_bytes(damaged(record.read_bytes(), seed))
        for read in (lambda: check_resumable(folder, config), lambda: Record.read(folder)):
            try:
                read()
            except UserError as refusal:
                assert str(folder) in refusal.what


@given(st.integers(0, 2**32))
@SOMETIMES
def test_results_of_batches_are_read_or_done_again(seed: int) -> None:
    count = torch.arange(4)
    data = LabelledImages(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), count)
    with TemporaryDirectory() as name:
        file = batch_file(Path(name), 0)
        pixels, codes = torch.rand(4, 1, 2, 2), torch.rand(4, 3)
        result = AttackResult(pixels, pixels, codes, codes, count, count, count, count, count < 0, codes[:, None], {})
        columns = {key: value.clone() for key, value in result.tensors().items()}
        save_file(columns | {"seconds": torch.tensor(1.0)}, file)
        file.write_bytes(damaged(file.read_bytes(), seed))
        module = AttackDataModule(data, Selection(count, count, count), 4, Path(name))
        if not module.left:
            found = module.results()
            assert {key: value.shape for key, value in found.tensors().items()} == {
                key: value.shape for key, value in result.tensors().items()
            }


@pytest.mark.parametrize(
    "header", [b"", b"{}", b'{"x":1}', b'{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}']
)
def test_a_hostile_results_file_runs_nothing(tmp_path: Path, header: bytes) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    try:
        assert load_tensors(file) == {}
    except Exception as error:
        assert type(error).__name__ == "SafetensorError"


# Attacks


@given(st.integers(0, 2**32), st.sampled_from(["linf", "l2"]), st.floats(0, 3))
@SOMETIMES
def test_pixel_attacks_stay_in_their_ball(seed: int, norm: str, epsilon: float) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed % 2**31)
    side, channels, count = draw.randrange(4, 20), draw.choice([1, 3]), draw.randrange(1, 5)
    network = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
    if draw.random() < 0.3:  # a layer that makes NaN of some images
        network.append(nn.Hardtanh(-draw.random(), draw.random()))
        network[0].weight.data *= draw.choice([1, 1e20, torch.nan])
    x, y = torch.rand(count, channels, side, side), torch.randint(3, (count,))
    found = pgd(network, x, y, epsilon, norm, steps=3, step_size=epsilon / 2, start=x)
    offset = (found - x).flatten(1).norm(dim=1, p=torch.inf if norm == "linf" else 2)
    assert found.isfinite().all()
    assert 0 <= found.min() <= found.max() <= 1
    assert offset.max() <= epsilon * (1 + 1e-5) + 1e-6


@cache
def type1() -> dict:
    return OmegaConf.to_container(compose().attack, resolve=True)


@given(st.integers(0, 2**32), st.one_of(st.none(), st.floats(0, 100)), st.sampled_from([1e-3, 0.2, 50.0]))
@SOMETIMES
def test_latent_attacks_stay_finite_and_in_their_ball(seed: int, strength: float | None, rate: float) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed % 2**31)
    side, channels, count = draw.randrange(8, 20), draw.choice([1, 3]), draw.randrange(1, 5)
    size, classes = (side, side + draw.randrange(3)), draw.randrange(2, 5)
    generator = SVAE(channels, classes, size, latent_size=draw.randrange(1, 6), width=2, hidden=4).eval()
    victim = GapCNN(channels, classes, (2, 3, 4)).eval()
    scale = draw.choice([1, 1, 1e10, 1e38, torch.nan])
    generator.decoder.body[0].weight.data *= scale
    changes = {"steps": 4, "frames": 3, "strength": strength, "learning_rate": rate, "starts": ["mean"]}
    plan = LatentAttackSettings.model_validate(type1() | changes)
    x, y = torch.rand(count, channels, *size), torch.randint(classes, (count,))
    result = LatentAttack(victim, generator, plan)(x, y, (y + 1) % classes)
    assert result.z.isfinite().all()
    assert result.path.isfinite().all()
    if strength is not None:
        assert ((result.z - result.z0).norm(dim=1) <= strength * (1 + 1e-4) + 1e-4).all()
    sound = ~result.diverged
    assert result.x_adv[sound].isfinite().all()
    assert (result.x_adv[sound] >= 0).all()
    assert (result.x_adv[sound] <= 1).all()
    assert sound.all() or scale != 1 or rate == 50.0


def test_a_file_of_json_that_is_no_record(tmp_path: Path) -> None:
    for content in ("[]", "3", "null", '"x"', '{"number": 1}', '{"number": 1, "overrides": 3}'):
        (tmp_path / "job.json").write_text(json.dumps(json.loads(content)))
        with pytest.raises(UserError, match="can't be read"):
            Record.read(tmp_path)
