"""What can't work ends with exit code 2 and two sentences, before anything is trained or overwritten."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Answer, compose, textures, write_mnist
from PIL import Image
from torch import Tensor, nn

from cam_adv.config import settings_from
from cam_adv.data.load import load_dataset
from cam_adv.training.trainer import TrainingProgress
from cam_adv.training.workshop import Workshop


class OwnVictim(nn.Module):
    """A victim as a user might bring it: one linear layer."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels * image_size[0] * image_size[1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


class Probabilities(OwnVictim):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).softmax(dim=1)


class OneClassTooMany(OwnVictim):
    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__(in_channels, num_classes + 1, image_size)


class NoTensor(OwnVictim):
    def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": super().forward(images)}


class NotANumber(OwnVictim):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * torch.nan


class Raises(OwnVictim):
    def forward(self, images: Tensor) -> Tensor:
        raise ZeroDivisionError("no luck")


class RaisesWhenBuilt(OwnVictim):
    def __init__(self) -> None:
        raise ZeroDivisionError("no luck")


class NoGradient(OwnVictim):
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)


def no_network() -> str:
    return "a network"


def own(name: str) -> list[str]:
    """Overrides that make a class of this file the victim, as it comes, untrained."""
    return ["model/victim=own", f"model.victim.network._target_={__name__}.{name}"]


CASES = [
    (["attack.strenght=3"], "There is no key attack.strenght"),
    (["stage=kinds"], "stage=kinds needs the settings of conf/kinds/"),
    (["kinds.images=3"], "There is no key kinds.images in this config"),
    (["experiment=roc", "kinds.imges=3"], "There is no key kinds.imges"),
    (["dataset.source={_target_:os.getcwd,kind:3}"], "There is no key dataset.source.kind"),
    (["attack=null"], "These overrides can't be used"),
    (["attack=typ1"], "There is no config attack/typ1"),
    (["attack.strength=-0.5"], "attack.strength=-0.5 can't be used"),
    (["attack.target=3"], "attack.target=3, but image_folder has no such class"),
    (["attack.source=9"], "attack.source=9, but image_folder has no such class"),
    (["attack.source=1", "attack.target=1"], "attack.target=1 is the class that the images already have"),
    (["dataset.pictures=[[0,3]]"], "dataset.pictures[0][1]=3, but image_folder has no such class"),
    (["dataset.pictures=[]"], "dataset.pictures="),
    (["experiment=seven_to_nine"], "but image_folder has no such class"),
    (["dataset.root=nowhere"], "dataset.root=nowhere is not a folder"),
    (["dataset.root=???"], "dataset.root has no value"),
    (["dataset.split.test=null"], "dataset.split.test is null"),
    (["dataset.split.validation=0.79"], "too few for a split"),
    (["hardware.devices=4097"], "need a strategy|but this machine has"),
    (["hardware=cpu_ddp", "hardware.devices=4097"], "hardware.devices=4097, but this machine has"),
    (["hardware.devices=2"], "need a strategy for several processes|but this machine has 1"),
    (["hardware.precision=16-mixed"], "hardware.precision=16-mixed needs a GPU"),
    (["attack.images=25"], "attack.images=25, but only 24 images"),
    (["attack.source=0", "attack.images=9"], "attack.images=9, but only 8 images of class 0"),
    (["attack.target=every", "attack.images=200"], "attack.images=200 over all 6 ordered pairs"),
    (["model.victim.network._target_=no.such.Net"], "no.such.Net can't be imported"),
    (["+model.victim.network.depth=3"], "model.victim.network.depth is no argument"),
    (["dataset.size=4", "model/victim=lenet"], "model.victim|LeNet|lenet"),
    (["model.generator.network={_target_:torch.nn.Identity}"], "model.generator|Identity"),
    ([*own("Probabilities")], "Probabilities returns probabilities, not logits"),
    ([*own("OneClassTooMany")], "OneClassTooMany returns (8, 4) for 8 images, but the dataset has 3 classes"),
    ([*own("NoTensor")], "NoTensor returns dict for 8 images"),
    ([*own("NotANumber")], "NotANumber returns NaN or infinity"),
    ([*own("Raises")], "Raises fails on images of 1×16×16: ZeroDivisionError: no luck"),
    ([*own("RaisesWhenBuilt")], "no luck"),
    ([*own("NoGradient"), "model.victim.training=null"], "NoGradient"),
    ([*own("no_network")], "no_network made a str, not a torch.nn.Module"),
    ([*own("Probabilities"), "model.victim.training=null"], "Probabilities returns probabilities, not logits"),
]


def without_victims_arguments(tiny: list[str], overrides: list[str]) -> list[str]:
    """The tiny study, without its victim's width where another victim is named."""
    other = any(override.startswith("model/victim=") for override in overrides)
    return [*(kept for kept in tiny if not (other and "victim.network.widths" in kept)), *overrides]


@pytest.fixture
def nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that begins fails the test at once."""

    def begin(*arguments: object) -> None:
        pytest.fail("a training began")

    monkeypatch.setattr(TrainingProgress, "on_train_start", begin)


def assert_refused(answer: Answer, told: str, folder: Path) -> None:
    """Exit code 2, `told` (or one of several, divided by |), no traceback, nothing in the store."""
    assert any(fragment in answer.err for fragment in told.split("|")), answer.err
    assert answer.code == 2
    assert answer.err.count("cam-adv: ") == 1
    assert "Traceback" not in answer.err
    assert len(answer.err[answer.err.index("cam-adv: ") :].strip().splitlines()) >= 2
    models = folder / "outputs" / "models"
    assert not models.exists() or [path for path in models.iterdir() if path.is_dir()] == []


@pytest.mark.usefixtures("nothing_trains")
class TestIsRefusedBeforeAnythingIsTrained:
    @pytest.mark.parametrize(
        ("overrides", "told"), CASES, ids=lambda part: " ".join(part) if isinstance(part, list) else ""
    )
    def test_in_words(
        self, command: Callable[..., Answer], tiny: list[str], tmp_path: Path, overrides: list[str], told: str
    ) -> None:
        assert_refused(command(*without_victims_arguments(tiny, overrides)), told, tmp_path)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    @pytest.mark.parametrize("hardware", ["gpu", "multi_gpu"])
    def test_a_gpu_that_is_not_there(
        self, command: Callable[..., Answer], tiny: list[str], tmp_path: Path, hardware: str
    ) -> None:
        answer = command(*tiny[:-1], f"hardware={hardware}")
        assert_refused(answer, "hardware.accelerator=gpu, but PyTorch sees no GPU", tmp_path)

    def test_damaged_images(self, command: Callable[..., Answer], tmp_path: Path) -> None:
        write_mnist(tmp_path / "data", train=20, test=5)
        file = tmp_path / "data" / "MNIST" / "raw" / "train-images-idx3-ubyte"
        file.write_bytes(file.read_bytes()[:-1])
        answer = command("dataset=mnist", f"dataset.root={tmp_path / 'data'}", "dataset.download=false")
        assert_refused(answer, f"The files of MNIST in {file.parent} can't be read", tmp_path)

    def test_a_broken_picture(self, command: Callable[..., Answer], tiny: list[str], tmp_path: Path) -> None:
        for name, images in zip("ab", textures(6, 16, seed=2), strict=False):
            (tmp_path / "data" / name).mkdir(parents=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(tmp_path / "data" / name / f"{number}.png")
        (tmp_path / "data" / "b" / "3.png").write_text("no picture")
        answer = command(*tiny, f"dataset.root={tmp_path / 'data'}")
        assert_refused(answer, "3.png can't be read as a picture", tmp_path)

    def test_a_damaged_stored_model(self, command: Callable[..., Answer], tiny: list[str], tmp_path: Path) -> None:
        """The last of the models is damaged, the others are missing: none of them is trained first."""
        settings = settings_from(compose(tiny))
        store = tmp_path / "outputs" / "models"
        workshop = Workshop(load_dataset(settings.dataset), settings.dataset.name, store, settings.hardware)
        training = workshop.models(settings.model, "attack", True).all()[-1].training
        assert training is not None
        training.entry.folder.mkdir(parents=True)
        (training.entry.folder / "model.ckpt").write_bytes(b"PK half of it")
        answer = command(*tiny)
        assert answer.code == 2
        assert f"{training.entry.folder.name}/model.ckpt is damaged" in answer.err
        assert "retrain=true" in answer.err
        assert [path.name for path in store.iterdir() if path.is_dir()] == [training.entry.folder.name]

    def test_a_folder_that_another_run_has(
        self, command: Callable[..., Answer], tiny: list[str], tmp_path: Path
    ) -> None:
        taken = tmp_path / "taken"
        (taken / ".hydra").mkdir(parents=True)
        for name in ("config.yaml", "summary.json", "cam_adv.log", ".hydra/config.yaml", ".hydra/overrides.yaml"):
            (taken / name).write_text(f"the other run's {name}\n")
        before = {path: path.read_text() for path in taken.rglob("*") if path.is_file()}
        answer = command(*tiny, f"hydra.run.dir={taken}")
        assert_refused(answer, f"{taken} belongs to another run", tmp_path)
        assert {path: path.read_text() for path in taken.rglob("*") if path.is_file()} == before


def test_a_good_victim_of_ones_own_is_accepted(
    command: Callable[..., Answer], tiny: list[str], tmp_path: Path
) -> None:
    """The refusals above aren't for want of something else."""
    answer = command(*without_victims_arguments(tiny, own("OwnVictim")), "stage=victim")
    assert answer.code == 0, answer.err
    names = [path.name for path in (tmp_path / "outputs" / "models").iterdir() if path.is_dir()]
    assert len(names) == 1
    assert names[0].startswith("victim-own-image_folder-")


def test_a_victim_that_comes_trained_is_not_trained(
    command: Callable[..., Answer], tiny: list[str], tmp_path: Path, nothing_trains: None
) -> None:
    overrides = [*own("OwnVictim"), "model.victim.training=null", "stage=victim"]
    answer = command(*without_victims_arguments(tiny, overrides))
    assert answer.code == 0, answer.err
    assert "brought trained" in answer.out
    assert not (tmp_path / "outputs" / "models").exists()
