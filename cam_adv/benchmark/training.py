"""What an epoch of training costs beside a bare loop, and beside the usual template of Lightning."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from cam_adv.benchmark.comparison import Comparison, compare, seconds
from cam_adv.benchmark.machine import operations
from cam_adv.data.module import ImageDataModule
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.networks.svae import SVAE, bernoulli_nats
from cam_adv.networks.victims import MLP, GapCNN
from cam_adv.settings import HardwareSettings
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.svae_gan import SVAEGAN
from cam_adv.training.trainer import make_trainer

IMAGES, BATCH, EPOCHS = 1024, 64, 3
RATE = 1e-3
WIDTHS = [16, 32, 64]  # of the default victim
ON_CPU = HardwareSettings(
    accelerator="cpu",
    devices=1,
    nodes=1,
    strategy="single",
    placement="first",
    precision="32-true",
    compile=False,
    workers=1,
)


def svae_beside_bare(repeats: int) -> Comparison:
    """The SVAE and f2, in the first phase of their training."""
    return _beside_bare("an epoch of the SVAE", _svae, repeats)


def classifier_beside_bare(repeats: int) -> Comparison:
    """The default victim."""
    return _beside_bare("an epoch of gap_cnn", _gap_cnn, repeats)


def svae_beside_template(repeats: int) -> Comparison:
    """The SVAE with images that a DataLoader makes one by one."""
    return _beside_template("an epoch of the SVAE", _svae, repeats, None)


def classifier_beside_template(repeats: int) -> Comparison:
    """The default victim with images that a DataLoader makes one by one."""
    return _beside_template("an epoch of gap_cnn", _gap_cnn, repeats, None)


def mlp_beside_template(repeats: int) -> Comparison:
    """The published victim, whose own work is small."""
    return _beside_template("an epoch of the published MLP", _mlp, repeats, 2.0)


def _beside_bare(case: str, make: Callable[[], LightningModule], repeats: int) -> Comparison:
    work = operations(lambda: _bare_epoch(make(), _splits().train))
    bare = _bare(make)
    beside = "a bare loop over a tensor"
    return compare(case, _ours(make), beside, bare, max(2, repeats // 5), "s", 1 / 1.05, work)


def _beside_template(case: str, make: Callable[[], LightningModule], repeats: int, reach: float | None) -> Comparison:
    beside = "the usual template: a Dataset of pictures, a DataLoader"
    return compare(case, _ours(make), beside, _template(make), max(2, repeats // 5), "s", reach)


def _ours(make: Callable[[], LightningModule]) -> Callable[[], float]:
    splits = _splits()
    return lambda: _fit(make(), lambda clock, folder: make_trainer(ON_CPU, **_options(clock, folder)), splits)


def _template(make: Callable[[], LightningModule]) -> Callable[[], float]:
    loader = DataLoader(_Pictures(_splits().train), batch_size=BATCH, shuffle=True)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return lambda: _fit(make(), lambda clock, folder: Trainer(**quiet, **_options(clock, folder)), loader)


def _fit(
    module: LightningModule, trainer: Callable[["_Clock", Path], Trainer], data: ImageSplits | DataLoader
) -> float:
    """Seconds of an epoch's training, without the first, which warms up."""
    clock = _Clock()
    given = ImageDataModule(data, BATCH, 0) if isinstance(data, ImageSplits) else data
    with TemporaryDirectory() as folder:
        trainer(clock, Path(folder)).fit(module, given)
    return clock.of_an_epoch()


def _options(clock: "_Clock", folder: Path) -> dict:
    return {
        "max_epochs": 1 + EPOCHS,
        "reload_dataloaders_every_n_epochs": 1,
        "logger": TensorBoardLogger(folder, name="", version=""),
        "callbacks": [clock],
        "enable_checkpointing": False,
        "limit_val_batches": 0,
    }


class _Clock(Callback):
    """When epochs began, and when the last ended."""

    def __init__(self) -> None:
        self.began: list[float] = []
        self.ended = 0.0

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.began.append(time.perf_counter())

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.ended = time.perf_counter()

    def of_an_epoch(self) -> float:
        return (self.ended - self.began[1]) / (len(self.began) - 1)


def _bare(make: Callable[[], LightningModule]) -> Callable[[], float]:
    data = _splits().train

    def fresh() -> float:
        module = make()
        _bare_epoch(module, data)  # warms up, as the others' first does
        return seconds(lambda: [_bare_epoch(module, data) for _ in range(EPOCHS)], 1 / EPOCHS)()

    return fresh


def _bare_epoch(module: LightningModule, data: LabelledImages) -> None:
    """As one would write it for these networks alone."""
    network, generator = module.network.train(), torch.Generator().manual_seed(0)
    kind = torch.optim.Adam if isinstance(network, SVAE) else torch.optim.AdamW
    optimizer = kind(network.parameters(), lr=RATE)
    for images, labels in _batches(data, generator):
        optimizer.zero_grad()
        _bare_loss(network, images, labels, generator).backward()
        optimizer.step()


def _bare_loss(network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    if not isinstance(network, SVAE):
        return functional.cross_entropy(network(images), labels)
    posterior = network.encode(images)
    codes = posterior.sample(generator)
    loss = bernoulli_nats(network.decoder(codes), images).mean() + posterior.kl_to_prior().mean()
    return loss + functional.cross_entropy(network.classifier(codes), labels)


def _batches(data: LabelledImages, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for rows in torch.randperm(len(data), generator=generator).split(BATCH):
        yield data.images[rows].float().div_(255), data.labels[rows]


class _Pictures(Dataset):
    """As torchvision's MNIST hands them over: a picture of PIL, made a tensor one by one."""

    def __init__(self, data: LabelledImages) -> None:
        self.data, self.transform = data, ToTensor()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.data.images[index, 0].numpy(), mode="L")
        return self.transform(picture), int(self.data.labels[index])


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
    return ClassifierModule(network.to(memory_format=torch.channels_last), RATE, 1e-4)


def _svae() -> SVAEGAN:
    network = SVAE(1, 10, (28, 28), latent_size=48, width=32, hidden=256).to(memory_format=torch.channels_last)
    return SVAEGAN(network, 1 + EPOCHS, 0, RATE, 1.0, 1.0, 0)
