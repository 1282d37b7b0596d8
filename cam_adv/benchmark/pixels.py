"""What projected gradient ascent costs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cam_adv.attack.norm_bounded import pgd
from cam_adv.benchmark.comparison import Comparison, compare, seconds
from cam_adv.benchmark.machine import operations
from cam_adv.benchmark.peer import peer
from cam_adv.networks.victims import GapCNN

IMAGES, STEPS, EPSILON, BATCH = 1000, 40, 0.2, 128
STEP = 2.5 * EPSILON / STEPS
WIDTHS = [16, 32, 64]  # of the default victim


def beside_foolbox(repeats: int) -> Comparison:
    """Foolbox, from x itself, in batches of the same size."""
    network, images, y = _subject()
    with peer("Foolbox"):
        import foolbox

    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)

    def theirs() -> None:
        for part, labels in zip(images.split(BATCH), y.split(BATCH), strict=True):
            attack.run(model, part, foolbox.Misclassification(labels), epsilon=EPSILON)

    return _line(network, images, y, "Foolbox", theirs, repeats)


def beside_torchattacks(repeats: int) -> Comparison:
    """torchattacks, which is no dependency: it pins old packages and installs a broken one beside itself."""
    network, images, y = _subject()
    with peer("torchattacks", "pip install --no-deps torchattacks"):
        from torchattacks.attacks.pgd import PGD

    attack = PGD(network, eps=EPSILON, alpha=STEP, steps=STEPS, random_start=False)

    def theirs() -> None:
        for part, labels in zip(images.split(BATCH), y.split(BATCH), strict=True):
            attack(part, labels)

    return _line(network, images, y, "torchattacks", theirs, repeats)


def beside_art(repeats: int) -> Comparison:
    """The Adversarial Robustness Toolbox."""
    network, images, y = _subject()
    with peer("The Adversarial Robustness Toolbox"):
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

    victim = PyTorchClassifier(network, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1), device_type="cpu")
    attack = ProjectedGradientDescentPyTorch(
        victim, eps=EPSILON, eps_step=STEP, max_iter=STEPS, batch_size=BATCH, verbose=False
    )
    pixels, labels = images.numpy(), y.numpy()
    return _line(network, images, y, "ART", lambda: attack.generate(pixels, labels), repeats)


def _line(
    network: nn.Module, images: Tensor, y: Tensor, beside: str, theirs: Callable[[], object], repeats: int
) -> Comparison:
    def ours() -> None:
        for part, labels in zip(images.split(BATCH), y.split(BATCH), strict=True):
            pgd(network, part, labels, EPSILON, "linf", STEPS, STEP, part)

    work = STEPS * operations(lambda: pgd(network, images, y, EPSILON, "linf", 1, STEP, images))
    case = f"PGD of {STEPS} steps, {IMAGES} images, gap_cnn"
    return compare(case, seconds(ours), beside, seconds(theirs), max(2, repeats // 8), "s", 1.0, work)


def _subject() -> tuple[nn.Module, Tensor, Tensor]:
    network = GapCNN(1, 10, widths=WIDTHS).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    images = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return network, images, network(images).argmax(dim=1)
