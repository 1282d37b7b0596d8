"""The command line: what can't work ends with exit code 2 and two sentences, before anything is trained."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import CommandResult, compose, texture_images, write_mnist
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn

from cam_adv.config.compose import settings_from
from cam_adv.data.load import load_dataset
from cam_adv.training.model_zoo import ModelZoo
from cam_adv.training.trainer import TrainingProgress

GROUPS = (
    *("attack", "attribution", "control", "dataset", "experiment", "hardware", "study"),
    *("model/generator", "model/judge", "model/surrogates", "model/victim"),
)


class OwnVictim(nn.Module):
    """A victim of the user's own: one linear layer."""

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


def own_victim(name: str) -> list[str]:
    """Overrides that make a class of this file the victim."""
    return ["model/victim=own", f"model.victim.network._target_={__name__}.{name}"]


INVALID = [
    (["attack.strenght=3"], "There is no key attack.strenght"),
    (["stage=kinds"], "stage is called study now"),
    (["kinds.images=3"], "kinds.images is called study.images now, with study=attack_comparison"),
    (["study.images=3"], "There is no key study.images in this config"),
    (["study=attack_comparison", "study.imges=3"], "There is no key study.imges"),
    (["dataset.source={_target_:os.getcwd,kind:3}"], "There is no key dataset.source.kind"),
    (["attack=null"], "These overrides can't be used"),
    (["attack=typ1"], "There is no config attack/typ1"),
    (["attack.strength=-0.5"], "attack.strength=-0.5 can't be used"),
    (["selection.target=3"], "selection.target=3, but image_folder has no such class"),
    (["selection.source=9"], "selection.source=9, but image_folder has no such class"),
    (
        ["selection.source=1", "selection.target=1"],
        "selection.target=1 is the class that the images already have",
    ),
    (["selection.source=hauser"], "selection.source=hauser, but image_folder has no class of this name"),
    (["selection.source=dots", "selection.target=0"], "selection.target=0 is the class that the images already have"),
    (["dataset.example_pairs=[[dots,rows]]"], "dataset.example_pairs[0][1]=rows, but image_folder has no class of"),
    (["dataset.example_pairs=[[1,'häuser']]"], "dataset.example_pairs[0] goes from class 1 to itself"),
    (["dataset.example_pairs=[[0,3]]"], "dataset.example_pairs[0][1]=3, but image_folder has no such class"),
    (["dataset.example_pairs=[]"], "dataset.example_pairs="),
    (["experiment=seven_to_nine"], "but image_folder has no such class"),
    (["dataset.root=nowhere"], "dataset.root=nowhere is not a folder"),
    (["dataset.root=???"], "dataset.root has no value"),
    (["dataset.split.test=null"], "dataset.split.test is null"),
    (["dataset.split.validation=0.79"], "too few for a split"),
    (["hardware.devices=4097"], "need a strategy|but this machine has"),
    (["hardware=cpu_ddp", "hardware.devices=4097"], "hardware.devices=4097, but this machine has"),
    (["hardware.devices=2"], "need a strategy for several processes|but this machine has 1"),
    (["hardware.precision=16-mixed"], "hardware.precision=16-mixed needs a GPU"),
    (["selection.images=25"], "selection.images=25, but only 24 images"),
    (["selection.source=0", "selection.images=9"], "selection.images=9, but only 8 images of class dots"),
    (["selection.source=dots", "selection.images=9"], "selection.images=9, but only 8 images of class dots"),
    (["selection.target=every", "selection.images=200"], "selection.images=200 over all 6 ordered pairs"),
    (["model.victim.network._target_=no.such.Net"], "no.such.Net can't be imported"),
    (["model.victim.weights=nowhere.pt"], "model.victim.weights=nowhere.pt can't be read: there is no such file"),
    (["model.victim.mean=[0.5,0.5,0.5]"], "model.victim.mean has 3 numbers, but the images have 1 channel"),
    (["model/victim=torchvision", "model.victim.network.name=resnet18"], "reads images of 3 channels, but those of"),
    (
        ["model/victim=torchvision", "model.victim.network.name=resnet19"],
        "name=resnet19 is no classifier of torchvision",
    ),
    (["+model.victim.network.depth=3"], "model.victim.network.depth is no argument"),
    (["dataset.size=2"], "GapCNN can't take images of 2×2 pixels: they are too small"),
    (["dataset.size=4", "model/victim=lenet"], "LeNet can't take images of 4×4 pixels"),
    (["dataset.size=3", "model/victim=mlp"], "plain_judge can't take images of 3×3 pixels"),
    (["outputs=/tmp/a=b"], "The override outputs=/tmp/a=b can't be read"),
    (["name=a/b"], "name=a/b can't be used: it should be a name of letters, digits and _"),
    (["model.generator.network={_target_:torch.nn.Identity}"], "model.generator|Identity"),
    ([*own_victim("Probabilities")], "Probabilities returns probabilities, not logits"),
    ([*own_victim("OneClassTooMany")], "OneClassTooMany returns (8, 4) for 8 images, but the dataset has 3 classes"),
    ([*own_victim("NoTensor")], "NoTensor returns dict for 8 images"),
    ([*own_victim("NotANumber")], "NotANumber returns NaN or infinity"),
    ([*own_victim("Raises")], "Raises fails on images of 1×16×16: ZeroDivisionError: no luck"),
    ([*own_victim("RaisesWhenBuilt")], "no luck"),
    ([*own_victim("NoGradient"), "model.victim.training=null"], "NoGradient"),
    ([*own_victim("no_network")], "no_network made a str, not a torch.nn.Module"),
    (
        [*own_victim("Probabilities"), "model.victim.training=null"],
        "Probabilities returns probabilities, not logits",
    ),
]


def with_other_victim(tiny: list[str], overrides: list[str]) -> list[str]:
    """The tiny run with further overrides, without its victim's width where they name another victim."""
    other = any(override.startswith("model/victim=") for override in overrides)
    return [*(override for override in tiny if not (other and "victim.network.widths" in override)), *overrides]


@pytest.fixture
def forbid_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test as soon as a training starts."""
    monkeypatch.setattr(TrainingProgress, "on_train_start", lambda *_: pytest.fail("a training started"))


def assert_refused(answer: CommandResult, message: str, folder: Path) -> None:
    """Exit code 2, `message` (or one of several, divided by |), no traceback, nothing in the store."""
    assert any(fragment in answer.err for fragment in message.split("|")), answer.err
    assert answer.code == 2
    assert answer.err.count("cam-adv: ") == 1
    assert "Traceback" not in answer.err
    assert len(answer.err[answer.err.index("cam-adv: ") :].strip().splitlines()) >= 2
    models = folder / "outputs" / "models"
    assert not models.exists() or [path for path in models.iterdir() if path.is_dir()] == []


@pytest.mark.slow
@pytest.mark.usefixtures("forbid_training")
class TestRefusedBeforeTraining:
    @pytest.mark.parametrize(
        ("overrides", "message"), INVALID, ids=lambda part: " ".join(part) if isinstance(part, list) else ""
    )
    def test_invalid_overrides_are_refused(
        self,
        command: Callable[..., CommandResult],
        tiny: list[str],
        tmp_path: Path,
        overrides: list[str],
        message: str,
    ) -> None:
        assert_refused(command(*with_other_victim(tiny, overrides)), message, tmp_path)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    @pytest.mark.parametrize("hardware", ["gpu", "multi_gpu"])
    def test_missing_gpu_is_refused(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path, hardware: str
    ) -> None:
        answer = command(*tiny[:-1], f"hardware={hardware}")
        assert_refused(answer, "hardware.accelerator=gpu, but PyTorch sees no GPU", tmp_path)

    def test_damaged_dataset_is_refused(self, command: Callable[..., CommandResult], tmp_path: Path) -> None:
        write_mnist(tmp_path / "data", train=20, test=5)
        file = tmp_path / "data" / "MNIST" / "raw" / "train-images-idx3-ubyte"
        file.write_bytes(file.read_bytes()[:-1])
        answer = command("dataset=mnist", f"dataset.root={tmp_path / 'data'}", "dataset.download=false")
        assert_refused(answer, f"The files of MNIST in {file.parent} can't be read", tmp_path)

    def test_damaged_image_file_is_refused(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        for name, images in zip("ab", texture_images(6, 16, seed=2), strict=False):
            (tmp_path / "data" / name).mkdir(parents=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(tmp_path / "data" / name / f"{number}.png")
        (tmp_path / "data" / "b" / "3.png").write_text("no picture")
        answer = command(*tiny, f"dataset.root={tmp_path / 'data'}")
        assert re.search(r"3\.png can't be read as an? (image|picture)", answer.err)
        assert_refused(answer, "3.png can't be read", tmp_path)

    def test_damaged_stored_model_is_refused(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        """The last of the models is damaged, the others are missing: none of them is trained first."""
        settings = settings_from(compose(tiny))
        store = tmp_path / "outputs" / "models"
        zoo = ModelZoo(load_dataset(settings.dataset), settings.dataset.name, store, settings.hardware)
        training = zoo.models(settings.model, settings.study.roles(settings.attack)).all()[-1].training
        assert training is not None
        training.entry.folder.mkdir(parents=True)
        (training.entry.folder / "model.ckpt").write_bytes(b"PK half of it")
        answer = command(*tiny)
        assert answer.code == 2
        assert f"{training.entry.folder.name}/model.ckpt is damaged" in answer.err
        assert "retrain=true" in answer.err
        assert [path.name for path in store.iterdir() if path.is_dir()] == [training.entry.folder.name]

    def test_folder_of_another_run_is_refused_and_unchanged(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        taken = tmp_path / "taken"
        (taken / ".hydra").mkdir(parents=True)
        for name in ("config.yaml", "summary.json", "cam_adv.log", ".hydra/config.yaml", ".hydra/overrides.yaml"):
            (taken / name).write_text(f"the other run's {name}\n")
        before = {path: path.read_text() for path in taken.rglob("*") if path.is_file()}
        answer = command(*tiny, f"hydra.run.dir={taken}")
        assert_refused(answer, f"{taken} belongs to another run", tmp_path)
        assert {path: path.read_text() for path in taken.rglob("*") if path.is_file()} == before


class TestOwnVictim:
    def test_valid_own_victim_is_trained(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        """The own victims above are refused for their own faults only."""
        answer = command(*with_other_victim(tiny, own_victim("OwnVictim")), "study=train", "role=victim")
        assert answer.code == 0, answer.err
        names = [path.name for path in (tmp_path / "outputs" / "models").iterdir() if path.is_dir()]
        assert len(names) == 1
        assert names[0].startswith("victim-own-image_folder-")

    @pytest.mark.usefixtures("forbid_training")
    def test_own_victim_without_training_is_not_trained(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        overrides = [*own_victim("OwnVictim"), "model.victim.training=null", "study=train", "role=victim"]
        answer = command(*with_other_victim(tiny, overrides))
        assert answer.code == 0, answer.err
        assert "given trained" in answer.out
        assert not (tmp_path / "outputs" / "models").exists()


class TestDebug:
    @pytest.mark.parametrize("debug", ["debug=true", "debug=True", "++debug=true"])
    def test_debug_shows_the_traceback(self, command: Callable[..., CommandResult], debug: str) -> None:
        answer = command("attack.strength=-1", debug)
        assert answer.code == 2
        assert "Traceback" in answer.err
        assert "attack.strength=-1 can't be used" in answer.err

    def test_without_debug_no_traceback_is_shown(self, command: Callable[..., CommandResult]) -> None:
        answer = command("attack.strength=-1")
        assert (answer.code, "Traceback" in answer.err) == (2, False)


@pytest.mark.slow
class TestProcess:
    """The command as a process of its own."""

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["attack.strenght=3"], ["There is no key attack.strenght", "Did you mean attack.strength?"]),
            (["attack=typ1"], ["There is no config attack/typ1", "Choose attack from", "type1"]),
            (["experiment=none_such"], ["There is no config experiment/none_such", "seven_to_nine"]),
            (["selection.images=[1"], ["[1"]),
            (["attack.strength=-1"], ["attack.strength=-1 can't be used", "Set attack.strength"]),
        ],
        ids=lambda part: part[0] if len(part) == 1 else "",
    )
    def test_invalid_override_is_refused_in_two_sentences(
        self,
        command_process: Callable[[list[str], Path], CommandResult],
        tmp_path: Path,
        overrides: list[str],
        message: list[str],
    ) -> None:
        answer = command_process(overrides, tmp_path)
        assert answer.code == 2
        for fragment in message:
            assert fragment in answer.err
        assert "Traceback" not in answer.err
        assert not (tmp_path / "outputs" / "models").exists()

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["--cfg", "job", "attack.steps=17"], 0),
            (["--help"], 0),
            (["attack.strenght=3"], 2),
            (["stage=kinds"], 2),
            (["attack=typ1"], 2),
        ],
        ids=lambda part: " ".join(part) if isinstance(part, list) else "",
    )
    def test_config_help_and_misspelt_keys_import_no_torch(
        self, tmp_path: Path, arguments: list[str], code: int
    ) -> None:
        program = (
            "import sys; from cam_adv.cli import main\ntry: main()\nfinally: print('TORCH', 'torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        output, _, torch_is_loaded = done.stdout.partition("TORCH")
        assert done.returncode == code
        assert torch_is_loaded.strip() == "False"
        assert list(tmp_path.iterdir()) == []
        if arguments[0] == "--cfg":
            assert OmegaConf.create(output).attack.steps == 17
        if arguments[0] == "--help":
            lines = output.splitlines()
            assert {line.split(":")[0] for line in lines} >= set(GROUPS)
            assert len(lines) <= 40  # one screen
            assert max(map(len, lines)) <= 80
