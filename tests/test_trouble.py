"""Networks that can't be believed, losses that are no numbers, and commands that end before their time."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ONE_THREAD, Answer, Study, compose
from safetensors import SafetensorError
from torch import Tensor, nn

from cam_adv.config import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.endings import of_the_disk, told_to_end
from cam_adv.errors import UserError
from cam_adv.networks.check import check_classifier, check_pixel_range, gradient_agreement
from cam_adv.networks.victims import MLP, GapCNN, LeNet
from cam_adv.settings import Settings
from cam_adv.training.checkpoints import WholeCheckpoints
from cam_adv.training.store import CHECKPOINT
from cam_adv.training.workshop import Workshop

IMAGES = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))


class Around(nn.Module):
    """A sound network, and what is done to its input and its output."""

    def __init__(
        self,
        before: Callable[[Tensor], Tensor] = lambda images: images,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = MLP(1, 3, (16, 16), hidden=8).eval()
        self.before, self.after = before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.network(self.before(images)))


class Rounded(torch.autograd.Function):
    """Eight levels of grey, and a gradient that is put in by hand: masked."""

    @staticmethod
    def forward(context: object, images: Tensor) -> Tensor:
        return (7 * images).round() / 7

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient


class OverTheBatch(nn.Module):
    """Batch norm that was left in training mode."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.network = nn.BatchNorm2d(1), MLP(1, 3, (16, 16), hidden=8)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(nn.functional.batch_norm(images, None, None, training=True))


UNSOUND = {
    "probabilities": (Around(after=lambda logits: logits.softmax(dim=1)), "probabilities, not logits", "softmax"),
    "a class too few": (Around(after=lambda logits: logits[:, :2]), r"returns \(8, 2\) for 8 images", "3 logits"),
    "one logit for all": (Around(after=lambda logits: logits.mean(dim=0)), r"returns \(3,\)", "3 logits"),
    "no tensor": (Around(after=lambda logits: {"logits": logits}), "returns dict", "3 logits"),
    "doubles": (Around(after=lambda logits: logits.double()), "torch.float64", r"network.float\(\)"),
    "halves": (Around(after=lambda logits: logits.half()), "torch.float16", r"network.float\(\)"),
    "another device": (Around(after=lambda logits: logits.to("meta")), "on meta for images", "on the device"),
    "NaN": (Around(after=lambda logits: logits * torch.nan), "NaN or infinity", "Mend"),
    "infinity": (Around(after=lambda logits: logits / 0), "NaN or infinity", "Mend"),
    "dropout": (
        Around(before=lambda images: nn.functional.dropout(images)),
        "differently each time",
        "self.training",
    ),
    "noise": (Around(after=lambda logits: logits + torch.randn_like(logits)), "differently each time", "its noise"),
    "batch norm in training": (OverTheBatch(), "differently alone and among 8", r"network.eval\(\)"),
    "a mean over the batch": (Around(after=lambda logits: logits - logits.mean(dim=0)), "alone and among", "running"),
    "no gradient": (Around(after=lambda logits: logits.detach()), "no gradient", "torch.no_grad"),
    "rounding": (Around(before=lambda images: (7 * images).round() / 7), "no gradient", "rounding"),
    "an argmax": (
        Around(after=lambda logits: nn.functional.one_hot(logits.argmax(dim=1), 3).float()),
        "probabilities|no gradient",
        "softmax|rounding",
    ),
    "another image size": (Around(before=lambda images: images[:, :, :8]), "fails on images of 1×16×16", "1, 16, 16"),
    "colour": (nn.Sequential(nn.Conv2d(3, 3, 16), nn.Flatten()), "fails on images of 1×16×16", "takes images"),
}


@pytest.mark.parametrize("name", UNSOUND)
def test_a_network_that_cannot_be_believed_is_refused(name: str) -> None:
    network, what, remedy = UNSOUND[name]
    with pytest.raises(UserError) as refusal:
        check_classifier(network.eval(), IMAGES, 3, "mine.Net", trained=True)
    assert refusal.value.what.startswith("mine.Net ")
    assert re.search(what, refusal.value.what)
    assert re.search(remedy, refusal.value.remedy)


@pytest.mark.parametrize(
    "network",
    [
        Around(),
        LeNet(1, 3, (16, 16)),
        GapCNN(1, 3, (4, 8, 12)),
        Around(after=lambda logits: 1e4 * logits),
        Around(after=lambda logits: logits.log_softmax(dim=1)),
    ],
)
def test_a_sound_network_is_taken(network: nn.Module) -> None:
    drawn = torch.get_rng_state()
    check_classifier(network.eval(), IMAGES, 3, "mine.Net", trained=True)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert gradient_agreement(network, IMAGES) == 1


def test_a_masked_gradient_is_told_from_a_true_one() -> None:
    network = Around(before=Rounded.apply)
    check_classifier(network, IMAGES, 3, "mine.Net", trained=True)  # it has a gradient: only not its own
    assert gradient_agreement(network, IMAGES) < 0.5


class Masked(GapCNN):
    """The tiny victim behind such rounding."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, (4, 8, 12))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(Rounded.apply(images))


def test_a_masked_victim_is_reported(command: Callable[..., Answer], tiny: list[str]) -> None:
    own = ["model/victim=own", f"model.victim.network._target_={__name__}.Masked", "hydra.run.dir=run"]
    answer = command(*[kept for kept in tiny if "widths" not in kept], *own)
    assert answer.code == 0, answer.err
    assert "The victim's gradient is masked" in answer.out
    assert "says little of how easily this victim is fooled" in answer.out


@pytest.mark.parametrize(
    ("expects", "named"),
    [(lambda x: x / 255, "255 * images"), (lambda x: (x + 1) / 2, "2 * images - 1"), (lambda x: x, None)],
)
def test_another_range_of_pixels_is_noticed(expects: Callable[[Tensor], Tensor], named: str | None) -> None:
    """A network that is right on every image, of dark and of bright ones, if their pixels come in its own range."""
    labels = torch.arange(40) % 2
    images = (0.3 + 0.4 * labels)[:, None, None, None] + 0.05 * torch.rand(40, 1, 4, 4)

    class OfBrightness(nn.Module):
        def forward(self, seen: Tensor) -> Tensor:
            mean = expects(seen).mean(dim=(1, 2, 3))
            return torch.stack([(mean - 0.3).abs(), (mean - 0.7).abs()], dim=1).neg()

    if named is None:
        check_pixel_range(OfBrightness(), images, labels, "mine.Net")
    else:
        with pytest.raises(UserError, match="is right on 50% of the validation images") as refusal:
            check_pixel_range(OfBrightness(), images, labels, "mine.Net")
        assert f"100% of them as {named}." in refusal.value.what
        assert refusal.value.remedy == f"Wrap it in a module whose forward returns network({named})."


# Training


@pytest.mark.parametrize(("role", "term"), [("victim", "train/loss"), ("generator", "train/objective")])
def test_a_training_that_diverges_says_where(
    command: Callable[..., Answer], tiny: list[str], role: str, term: str
) -> None:
    answer = command(*tiny, f"stage={role}", f"model.{role}.training.learning_rate=1e30")
    assert answer.code == 2
    assert f"{term} is nan at step" in answer.err.replace("inf", "nan")
    assert "of a training, in epoch" in answer.err
    assert "training.learning_rate" in answer.err
    assert "Traceback" not in answer.err


class Poisoned(MLP):
    """It answers NaN from its 60th training step on."""

    def __init__(self, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> None:
        super().__init__(in_channels, num_classes, image_size, hidden=8)
        self.steps = 0

    def forward(self, images: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(images) * (torch.nan if self.steps > 60 else 1)


def test_the_last_good_checkpoint_stays(settings: Settings, splits: ImageSplits, tmp_path: Path) -> None:
    of_own = ["model/victim=own", f"model.victim.network._target_={__name__}.Poisoned"]
    victim = settings_from(compose(of_own)).model.victim
    plan = victim.model_copy(update={"training": settings.model.victim.training.model_copy(update={"epochs": 20})})
    models = settings.model.model_copy(update={"victim": plan})
    workshop = Workshop(splits, "tiny", tmp_path, settings.hardware)
    (model,) = workshop.models(models, "victim", False).all()
    with pytest.raises(UserError, match="train/loss is nan at step 60 of a training") as refusal:
        workshop.prepare([model], retrain=False)
    checkpoint = model.training.entry.training_folder / CHECKPOINT
    assert f"the last good checkpoint is {checkpoint}" in refusal.value.what
    kept = torch.load(checkpoint, weights_only=True)
    steps_in_epoch = -(-len(splits.train) // 16)
    assert kept["global_step"] == 60 // steps_in_epoch * steps_in_epoch
    assert all(value.isfinite().all() for value in kept["state_dict"].values())


# Endings


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_attack_at_once(
    study: Study, tiny: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    """In the midst of a batch of a walk that would take minutes."""
    overrides = [*tiny, "attack.steps=1000000", "attack.rest_at=0.9999", f"hydra.run.dir={tmp_path / 'run'}"]
    running = subprocess.Popen(
        [sys.executable, "-m", "cam_adv", *overrides],
        cwd=study.root,
        env=os.environ | ONE_THREAD,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "run" / "batches").is_dir():
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.05)
    time.sleep(1)
    running.send_signal(number)
    said = running.communicate(timeout=20)[1]
    assert running.returncode == 128 + number
    assert f"cam-adv: This command was told to end ({number.name})." in said
    assert "resume=latest" in said
    assert "Traceback" not in said


def test_an_ending_that_a_library_turns_into_an_error_is_still_one(capsys: pytest.CaptureFixture[str]) -> None:
    """As OmegaConf does where the signal finds it in the midst of a copy."""

    def copy() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except BaseException as error:
            raise AttributeError("half a copy") from error

    with pytest.raises(SystemExit) as ending, told_to_end():
        copy()
    assert ending.value.code == 128 + signal.SIGTERM
    assert "told to end (SIGTERM)" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, weights = tmp_path / "model.ckpt", torch.arange(3.0)
    WholeCheckpoints().save_checkpoint({"state_dict": {"w": weights}}, checkpoint)

    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        WholeCheckpoints().save_checkpoint({"state_dict": {"w": weights + 1}}, checkpoint)
    assert torch.equal(torch.load(checkpoint, weights_only=True)["state_dict"]["w"], weights)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]  # and half of the new one takes no room


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "there"), "The disk is full: there."),
        (OSError(errno.EROFS, "Read-only file system", "there"), "The disk is read-only: there."),
        (PermissionError(errno.EACCES, "Permission denied", "there"), "Permission is denied: there."),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "The disk is full."),
        (RuntimeError("[enforce fail at inline_container.cc:815] . file write failed"), "The disk is full."),
        (FileNotFoundError(errno.ENOENT, "No such file", "there"), None),
        (ValueError("anything"), None),
    ],
)
def test_the_disk_is_told_from_other_errors(error: Exception, told: str | None) -> None:
    assert (of_the_disk(error) or (None,))[0] == told
    outer = RuntimeError("while saving")
    outer.__cause__ = error
    assert (of_the_disk(outer) or (None,))[0] == told
