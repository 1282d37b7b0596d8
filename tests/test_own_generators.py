"""Attacks from the command line through generators from elsewhere: strangers' modules, and other people's weights."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_in_process
from given_generators import BURGESS_MNIST, TAEF2_DECODER, TAEF2_ENCODER, needs
from PIL import Image
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

STRANGER = """
import torch

class Stripes(torch.nn.Module):
    code_shape = (6,)
    def __init__(self, image_size, scale=4.0):
        super().__init__()
        self.shape = (1, *image_size)
        self.layer = torch.nn.Linear(6, image_size[0] * image_size[1])
        self.layer.weight.data *= scale
    def decode(self, z):
        return self.layer(z).sigmoid().unflatten(1, self.shape)

class StripesOfClass(Stripes):
    pixel_range = (-1, 1)
    def __init__(self, image_size, num_classes):
        super().__init__(image_size)
        self.shift = torch.nn.Embedding(num_classes, 6)
    def decode(self, z, y):
        return 2 * super().decode(z + self.shift(y)) - 1
"""


def own(tiny: Sequence[str], choice: str, *changes: str) -> list[str]:
    """The overrides of a tiny run through another generator."""
    others = [one for one in tiny if not one.startswith(("model.generator", "model/generator"))]
    changes = (*changes, "training.head_epochs=2", "training.batch_size=16")
    return [*others, f"model/generator={choice}", *(f"model.generator.{one}" for one in changes)]


def attack(overrides: Sequence[str], folder: Path) -> tuple[dict[str, float], dict[str, torch.Tensor], str]:
    """The summary, the tensors and the output of a run."""
    answer = run_in_process([*overrides, "hydra.run.dir=run"], folder)
    assert answer.code == 0, answer.err
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["images"] == 12
    assert summary["diverged"] == 0
    assert f"reconstruction_rms {summary['reconstruction_rms']:.4g}" in " ".join(answer.out.split())
    with (folder / "run" / "results.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 12
    return summary, load_file(folder / "run" / "attack.safetensors"), answer.out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stranger.py").write_text(STRANGER)
    return tmp_path


SMALL_ENCODER = (
    "network.encoder.width=4",
    "network.encoder.hidden=16",
    "network.inversion.steps=4",
    "training.encoder_epochs=2",
)


def test_strangers_decoder_without_an_encoder_is_attacked_through(folder: Path, tiny: list[str]) -> None:
    target = "network.decoder._target_=stranger.Stripes"
    summary, tensors, _ = attack(own(tiny, "own", target, *SMALL_ENCODER), folder)
    assert tensors["z"].shape == (12, 6)
    assert 0 < summary["reconstruction_rms"] < 0.6
    error = (tensors["reconstruction"] - tensors["x"]).square().mean().sqrt()
    assert error.item() == pytest.approx(summary["reconstruction_rms"], rel=0.3)  # of other test images
    (stored,) = (folder / "outputs" / "models").glob("generator-own-*")
    metrics = json.loads((stored / "metrics.json").read_text())
    assert summary["reconstruction_rms"] < metrics["reconstruction_rms"]  # inversion improves on the encoder


def test_same_decoder_with_other_arguments_is_trained_anew(folder: Path, tiny: list[str]) -> None:
    target = "network.decoder._target_=stranger.Stripes"
    for number, scale in enumerate((3.0, 5.0, 5.0)):
        overrides = own(tiny, "own", target, *SMALL_ENCODER)
        train = [
            "study=train",
            "+role=generator",
            f"+model.generator.network.decoder.scale={scale}",
            f"hydra.run.dir=run{number}",
        ]
        answer = run_in_process([*(one for one in overrides if not one.startswith("attack.")), *train], folder)
        assert answer.code == 0, answer.err
    assert len(list((folder / "outputs" / "models").glob("generator-own-*"))) == 2


def test_class_conditional_decoder_draws_the_perceived_class(folder: Path, tiny: list[str]) -> None:
    target = "network.decoder._target_=stranger.StripesOfClass"
    _, tensors, _ = attack(own(tiny, "own", target, *SMALL_ENCODER), folder)
    assert torch.equal(tensors["z"][:, 6:], torch.nn.functional.one_hot(tensors["target"], 3).float())
    assert torch.equal(tensors["z_start"][:, 6:], tensors["z"][:, 6:])
    assert ((tensors["path"][:, :, 6:].argmax(dim=2)) == tensors["target"].unsqueeze(1)).all()
    assert (tensors["z"][:, :6] - tensors["z0"][:, :6]).norm(dim=1).max() > 0


def test_gan_is_attacked_through_by_its_target(folder: Path, tiny: list[str]) -> None:
    (folder / "gan.py").write_text(
        "from torch import nn\n\ndef gan():\n"
        "    return nn.Sequential(nn.Linear(6, 256), nn.Tanh(), nn.Unflatten(1, (1, 16, 16)))\n"
    )
    decoder = ["network.decoder.module._target_=gan.gan", "network.decoder.code_shape=[6]"]
    _, tensors, _ = attack(own(tiny, "image_module", *decoder, *SMALL_ENCODER), folder)
    assert tensors["z"].shape == (12, 6)


@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        (["network.decoder._target_=stranger.Nothing"], "stranger.Nothing can't be imported", "package.module.Name"),
        (
            ["network.decoder._target_=stranger.Stripes", "network.inversion.steps=-1"],
            "model.generator.network.inversion.steps=-1",
            "Set model.generator.network.inversion.steps to such a value",
        ),
        (
            ["network.decoder._target_=torch.nn.Identity"],
            "(torch.nn.modules.linear.Identity) has no decode",
            "decode",
        ),
        (
            ["network.decoder._target_=stranger.Stripes", "network.components=3"],
            "components=3 are those of codes of training images, but model.generator.network.decoder "
            "(stranger.Stripes) has no encode",
            "model.generator.network.components to null",
        ),
    ],
)
def test_unusable_decoder_is_refused_before_anything_is_trained(
    folder: Path, tiny: list[str], changes: list[str], what: str, remedy: str
) -> None:
    answer = run_in_process(own(tiny, "own", *changes), folder)
    assert answer.code == 2
    assert what in answer.err
    assert remedy in answer.err
    assert not list((folder / "outputs").glob("models/*"))


def test_missing_weights_are_refused_before_anything_is_trained(folder: Path, tiny: list[str]) -> None:
    answer = run_in_process(own(tiny, "burgess_vae", "network.decoder.weights=none.safetensors"), folder)
    assert answer.code == 2
    assert (
        "model.generator.network.decoder.weights=none.safetensors can't be read: there is no such file" in answer.err
    )
    assert not list((folder / "outputs").glob("models/*"))


@needs(BURGESS_MNIST)
def test_burgess_vae_is_attacked_through(folder: Path, tiny: list[str]) -> None:
    _, tensors, _ = attack(own(tiny, "burgess_vae", f"network.decoder.weights={BURGESS_MNIST}"), folder)
    assert tensors["z"].shape == (12, 10)


@needs(TAEF2_ENCODER, TAEF2_DECODER)
def test_taef2_is_attacked_through_in_colour(folder: Path, tiny: list[str], tmp_path: Path) -> None:
    """A ramp to the right, down, and one of colours: photographs of 16×16 pixels."""
    rng, ramp = np.random.default_rng(0), np.linspace(0, 200, 16)
    flat, pictures = np.zeros((16, 16)), {"right": ramp[None, :, None], "down": ramp[:, None, None]}
    pictures["blue"] = np.stack([flat, flat, ramp[None, :] + flat], axis=2)
    for name, picture in pictures.items():
        (tmp_path / "colour" / name).mkdir(parents=True)
        for number in range(40):
            noisy = np.clip(picture + np.zeros((16, 16, 3)) + rng.integers(0, 50, (16, 16, 3)), 0, 255)
            Image.fromarray(noisy.astype(np.uint8)).save(tmp_path / "colour" / name / f"{number}.png")
    weights = [f"network.decoder.{part}_weights={file}" for part, file in
               (("encoder", TAEF2_ENCODER), ("decoder", TAEF2_DECODER))]  # fmt: skip
    others = [one for one in tiny if not one.startswith(("dataset.root", "attack.steps"))]
    data = [f"dataset.root={tmp_path / 'colour'}", "dataset.gray=false", "attack.steps=3"]
    _, tensors, _ = attack(
        [*own(others, "taef2", *weights, "network.components=8", "network.decoder.upscale=1"), *data], folder
    )
    assert tensors["z"].shape == (12, 8)
    assert tensors["x_adv"].shape == (12, 3, 16, 16)
