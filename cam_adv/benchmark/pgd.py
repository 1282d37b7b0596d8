"""The cost of projected gradient descent."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cam_adv.attacks.pgd import pgd
from cam_adv.benchmark.baseline_package import baseline_package
from cam_adv.benchmark.comparison import Comparison, compare, timed
from cam_adv.benchmark.machine import count_flops
from cam_adv.models.victims import GapCNN

IMAGES, STEPS, EPS, BATCH = 1000, 40, 0.2, 128
STEP_SIZE = 2.5 * EPS / STEPS
WIDTHS = [16, 32, 64]  # of the default victim


def vs_foolbox(repeats: int) -> Comparison:
    """Foolbox, started at x, with the same batch size."""
    network, images, y = _network_images_and_labels()
    with baseline_package("Foolbox"):
        import foolbox

    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS, random_start=False)

    def theirs() -> None:
        for batch, labels in zip(images.split(BATCH), y.split(BATCH), strict=True):
            attack.run(model, batch, foolbox.Misclassification(labels), epsilon=EPS)

    return _compare(network, images, y, "Foolbox", theirs, repeats)


def vs_torchattacks(repeats: int) -> Comparison:
    """torchattacks, which is no dependency: it pins old packages, and installs a broken one."""
    network, images, y = _network_images_and_labels()
    with baseline_package("torchattacks", "pip install --no-deps torchattacks"):
        from torchattacks.attacks.pgd import PGD  # type: ignore[import-not-found,import-untyped,unused-ignore]

    attack = PGD(network, eps=EPS, alpha=STEP_SIZE, steps=STEPS, random_start=False)

    def theirs() -> None:
        for batch, labels in zip(images.split(BATCH), y.split(BATCH), strict=True):
            attack(batch, labels)

    return _compare(network, images, y, "torchattacks", theirs, repeats)


def vs_art(repeats: int) -> Comparison:
    """The Adversarial Robustness Toolbox."""
    network, images, y = _network_images_and_labels()
    with baseline_package("The Adversarial Robustness Toolbox"):
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

    victim = PyTorchClassifier(network, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(
        victim, eps=EPS, eps_step=STEP_SIZE, max_iter=STEPS, batch_size=BATCH, verbose=False
    )
    pixels, labels = images.numpy(), y.numpy()
    return _compare(network, images, y, "ART", lambda: attack.generate(pixels, labels), repeats)


def _compare(
    network: nn.Module, images: Tensor, y: Tensor, baseline: str, theirs: Callable[[], object], repeats: int
) -> Comparison:
    def ours() -> None:
        for batch, labels in zip(images.split(BATCH), y.split(BATCH), strict=True):
            pgd(network, batch, labels, EPS, "linf", STEPS, STEP_SIZE, batch)

    flops = STEPS * count_flops(lambda: pgd(network, images, y, EPS, "linf", 1, STEP_SIZE, images))
    case = f"PGD of {STEPS} steps, {IMAGES} images, gap_cnn"
    return compare(case, timed(ours), baseline, timed(theirs), max(2, repeats // 8), "s", 1.0, flops)


def _network_images_and_labels() -> tuple[nn.Module, Tensor, Tensor]:
    network = GapCNN(1, 10, widths=WIDTHS).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return network, images, network(images).argmax(dim=1)
