"""Training on Type I images: what is added to a batch, when the images are made, and that a checkpoint has them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attacks.base import Attack
from cam_adv.attacks.result import AttackResult
from cam_adv.benchmark.training import ON_CPU
from cam_adv.data.data_module import Augmentation
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.studies.adversarial_training.config import Type1ImagesConfig
from cam_adv.studies.adversarial_training.type1_training import Type1Images, Type1TrainingModule
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.store import CHECKPOINT, StoreEntry
from cam_adv.training.train import TrainSpec, train


class Complement(Attack):
    """Its images are 1 − x, and depend on the victim by their first pixel."""

    def run(self, models, x, y, target, *, seed, prepared, on_step) -> AttackResult:
        x_adv = (1 - x).clone()
        x_adv[:, 0, 0, 0] = models.victim(x).softmax(dim=1)[:, 0].detach()
        return AttackResult(x, x_adv, y, target, y, y, y < 0, {})


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


def data() -> LabelledImages:
    """24 images of three classes, told apart by which of three pixels is bright."""
    labels = torch.arange(24) % 3
    images = torch.randint(0, 40, (24, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    images[torch.arange(24), 0, 1, labels] = 255
    return LabelledImages(images.byte(), labels)


def type1_images(images: int = 4, share: float = 0.5, refresh_epochs: int = 2) -> Type1Images:
    config = Type1ImagesConfig(images=images, share=share, refresh_epochs=refresh_epochs)
    splits = ImageSplits(data(), data(), data(), ("a", "b", "c"))
    attack = Complement(name="complement", kind="type1", confidence=0.5, batch_size=3)
    return Type1Images(config, attack, None, [], splits, "next", None, 0, Augmentation(), ON_CPU)


@pytest.fixture
def classifier() -> Classifier:
    """It classifies every image of `data` correctly."""
    torch.manual_seed(0)
    network = Classifier()
    with torch.no_grad():
        network.linear.weight.zero_()
        network.linear.weight[torch.arange(3), 4 + torch.arange(3)] = 8
    return network


def test_images_are_made_of_correctly_classified_ones_and_labelled_as_their_target(classifier: Classifier) -> None:
    with torch.no_grad():
        classifier.linear.bias[0] = -100  # never predicts class 0
    made = type1_images(images=10).make(classifier, torch.device("cpu"), epoch=2)
    assert len(made) == 10
    train = data()
    sources = [int((train.images[:, 0, 1:] == 255 - image[0, 1:]).all(dim=(1, 2)).nonzero()) for image in made.images]
    assert len(set(sources)) == 10
    y = train.labels[sources]
    assert 0 not in y.tolist()
    assert torch.equal(made.labels, (y + 1) % 3)
    assert classifier.training  # as it was


def test_another_epoch_attacks_other_images(classifier: Classifier) -> None:
    first, second = (type1_images().make(classifier, torch.device("cpu"), epoch) for epoch in (2, 4))
    again = type1_images().make(classifier, torch.device("cpu"), 2)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, second.images)


@pytest.mark.parametrize(("share", "added"), [(0.5, 6), (0.25, 2), (0.01, 1)])
def test_share_of_a_step_is_type1_images(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch, share: float, added: int
) -> None:
    steps = []
    monkeypatch.setattr(ClassifierModule, "training_step", lambda self, batch, index: steps.append(batch))
    module = Type1TrainingModule.of(ClassifierModule(classifier, 0.1, 0.0, seed=3), type1_images(share=share))
    batch = torch.zeros(6, 1, 4, 4), torch.zeros(6, dtype=torch.long)
    for epoch in range(4):
        module.trainer = SimpleNamespace(current_epoch=epoch, global_step=epoch, global_rank=0)
        module.on_train_epoch_start()
        module.training_step(batch, 0)
    assert [len(labels) for _, labels in steps] == [6, 6, 6 + added, 6 + added]
    made = type1_images(share=share).make(classifier, torch.device("cpu"), 2)
    for images, labels in steps[2:]:
        rows = [(made.images == (image * 255).round().byte()).flatten(1).all(dim=1) for image in images[6:]]
        assert all(row.any() for row in rows)
        assert all(label in made.labels[row] for label, row in zip(labels[6:], rows, strict=True))


def test_resumed_training_equals_one_without_interruption(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends after the epoch in which images were made, and goes on with the images of that epoch."""
    initial = {name: value.clone() for name, value in classifier.state_dict().items()}

    def spec(folder: str) -> TrainSpec:
        classifier.load_state_dict(initial)
        module = Type1TrainingModule.of(ClassifierModule(classifier, 0.05, 0.0), type1_images(refresh_epochs=3))
        entry = StoreEntry(tmp_path, folder, {})
        return TrainSpec("victim", module, module.type1_images.splits, entry, 8, 8, 0, Augmentation(), ON_CPU)

    def state(folder: str) -> dict[str, Tensor]:
        return torch.load(tmp_path / folder / CHECKPOINT, weights_only=True)["state_dict"]

    def stop_at_epoch_5(self: Type1TrainingModule, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        if self.current_epoch == 5:
            raise InterruptedError
        return training_step(self, batch, index)

    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    train(spec("whole"), tmp_path / "whole")
    training_step = Type1TrainingModule.training_step
    with monkeypatch.context() as patched:
        patched.setattr(Type1TrainingModule, "training_step", stop_at_epoch_5)
        with pytest.raises(InterruptedError):
            train(spec("parts"), tmp_path / "parts")
    train(spec("parts"), tmp_path / "parts")
    whole, parts = state("whole"), state("parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert whole["images"].any()
