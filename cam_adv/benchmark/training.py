"""The cost of an epoch of training, compared with a bare loop and with the usual template of Lightning."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from cam_adv.benchmark.comparison import Comparison, compare, timed
from cam_adv.benchmark.machine import count_flops
from cam_adv.data.data_module import ImageDataModule
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.models.generators.svae import SVAE, bernoulli_nats
from cam_adv.models.victims import MLP, GapCNN
from cam_adv.schema.hardware import HardwareSettings
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.svae_gan import SVAEGAN
from cam_adv.training.trainer import make_trainer

IMAGES, BATCH, EPOCHS = 1024, 64, 3
LEARNING_RATE = 1e-3
WIDTHS = [16, 32, 64]  # of the default victim
ON_CPU = HardwareSettings(
    accelerator="cpu",
    devices=1,
    nodes=1,
    strategy="single",
    device="first",
    precision="32-true",
    compile=False,
    trainings=1,
    workers=1,
)


Module = ClassifierModule | SVAEGAN


def svae_vs_bare_loop(repeats: int) -> Comparison:
    """The SVAE with f2, in the first phase of their training."""
    return _compare_with_bare_loop("an epoch of the SVAE", _svae, repeats)


def classifier_vs_bare_loop(repeats: int) -> Comparison:
    """The default victim."""
    return _compare_with_bare_loop("an epoch of gap_cnn", _gap_cnn, repeats)


def svae_vs_template(repeats: int) -> Comparison:
    """The SVAE, compared with images that a DataLoader transforms one by one."""
    return _compare_with_template("an epoch of the SVAE", _svae, repeats, None)


def classifier_vs_template(repeats: int) -> Comparison:
    """The default victim, compared with images that a DataLoader transforms one by one."""
    return _compare_with_template("an epoch of gap_cnn", _gap_cnn, repeats, None)


def mlp_vs_template(repeats: int) -> Comparison:
    """The victim of the published attack, whose own computations are short."""
    return _compare_with_template("an epoch of the published MLP", _mlp, repeats, 2.0)


def _compare_with_bare_loop(case: str, make: Callable[[], Module], repeats: int) -> Comparison:
    flops = count_flops(lambda: _bare_epoch(make().network, _splits().train))
    baseline = "a bare loop over a tensor"
    return compare(case, _ours(make), baseline, _bare_loop(make), max(2, repeats // 5), "s", 1 / 1.05, flops)


def _compare_with_template(
    case: str, make: Callable[[], Module], repeats: int, target_speedup: float | None
) -> Comparison:
    baseline = "the usual template: a Dataset of PIL images, a DataLoader"
    return compare(case, _ours(make), baseline, _template(make), max(2, repeats // 5), "s", target_speedup)


def _ours(make: Callable[[], Module]) -> Callable[[], float]:
    splits = _splits()
    return lambda: _fit(make(), lambda timer, folder: make_trainer(ON_CPU, **_options(timer, folder)), splits)


def _template(make: Callable[[], Module]) -> Callable[[], float]:
    loader = DataLoader(_PILImages(_splits().train), batch_size=BATCH, shuffle=True)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lambda: _fit(make(), lambda timer, folder: Trainer(**quiet, **_options(timer, folder)), loader)


def _fit(
    module: LightningModule, trainer: Callable[["_EpochTimer", Path], Trainer], data: ImageSplits | DataLoader
) -> float:
    """Seconds per epoch of training; the first epoch is a warm-up and is not counted."""
    timer = _EpochTimer()
    loaders = ImageDataModule(data, BATCH, 0) if isinstance(data, ImageSplits) else data
    with TemporaryDirectory() as folder:
        trainer(timer, Path(folder)).fit(module, loaders)
    return timer.seconds_per_epoch()


def _options(timer: "_EpochTimer", folder: Path) -> dict[str, Any]:
    return {
        "max_epochs": 1 + EPOCHS,
        "reload_dataloaders_every_n_epochs": 1,
        "logger": TensorBoardLogger(folder, name="", version=""),
        "callbacks": [timer],
        "enable_checkpointing": False,
        "limit_val_batches": 0,
    }


class _EpochTimer(Callback):
    """Records when each epoch started, and when the last one ended."""

    def __init__(self) -> None:
        self.starts: list[float] = []
        self.end = 0.0

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.starts.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.end = time.perf_counter()

    def seconds_per_epoch(self) -> float:
        return (self.end - self.starts[1]) / (len(self.starts) - 1)


def _bare_loop(make: Callable[[], Module]) -> Callable[[], float]:
    data = _splits().train

    def measure() -> float:
        network = make().network
        _bare_epoch(network, data)  # a warm-up, like the first epoch of the other side

        def epochs() -> None:
            for _ in range(EPOCHS):
                _bare_epoch(network, data)

        return timed(epochs, 1 / EPOCHS)()

    return measure


def _bare_epoch(network: nn.Module, data: LabelledImages) -> None:
    """An epoch as one would write it for these networks alone."""
    network.train()
    generator = torch.Generator().manual_seed(0)
    optimizer_class = torch.optim.Adam if isinstance(network, SVAE) else torch.optim.AdamW
    optimizer = optimizer_class(network.parameters(), lr=LEARNING_RATE)
    for images, labels in _batches(data, generator):
        optimizer.zero_grad()
        _bare_loss(network, images, labels, generator).backward()
        optimizer.step()


def _bare_loss(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    if not isinstance(network, SVAE):
        return functional.cross_entropy(network(images), labels)
    posterior = network.encode(images)
    codes = posterior.sample(generator)
    loss = bernoulli_nats(network.pixel_logits(codes), images).mean() + posterior.kl_to_prior().mean()
    return loss + functional.cross_entropy(network.classifier(codes), labels)


def _batches(data: LabelledImages, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for rows in torch.randperm(len(data), generator=generator).split(BATCH):
        yield data.images[rows].float().div_(255), data.labels[rows]


class _PILImages(Dataset):
    """Images as torchvision's MNIST yields them: a PIL image that becomes a tensor one by one."""

    def __init__(self, data: LabelledImages) -> None:
        self.data, self.transform = data, ToTensor()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.data.images[index, 0].numpy(), mode="L")
        return self.transform(image), int(self.data.labels[index])


def _splits() -> ImageSplits:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), generator=generator, dtype=torch.uint8)
    data = LabelledImages(images, torch.randint(0, 10, (IMAGES,), generator=generator))
    return ImageSplits(data, data, data, tuple(map(str, range(10))))


def _gap_cnn() -> ClassifierModule:
    return _classifier(GapCNN(1, 10, widths=WIDTHS))


def _mlp() -> ClassifierModule:
    return _classifier(MLP(1, 10, (28, 28), hidden=128))


def _classifier(network: nn.Module) -> ClassifierModule:
    return ClassifierModule(network.to(memory_format=torch.channels_last), LEARNING_RATE, 1e-4)


def _svae() -> SVAEGAN:
    network = SVAE(1, 10, (28, 28), latent_size=48, width=32, hidden=256).to(memory_format=torch.channels_last)
    return SVAEGAN(
        network,
        svae_epochs=1 + EPOCHS,
        discriminator_epochs=0,
        learning_rate=LEARNING_RATE,
        pixels="bernoulli",
        kl_weight=1.0,
        f2_weight=1.0,
        feature_weight=0.0,
        feature_width=1,
        seed=0,
    )
