"""Attacks that look for the nearest image of another class, through Foolbox: the extra `cam-adv[foolbox]`."""

import os

import torch
from torch import Tensor, nn

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # Foolbox's model zoo asks for git, which no attack needs
import foolbox
from foolbox.attacks import DDNAttack, L2CarliniWagnerAttack, L2DeepFoolAttack, LinfDeepFoolAttack

from cam_adv.attack.norm_bounded import into_ball
from cam_adv.settings import CarliniWagnerSettings, DDNSettings, DeepFoolSettings, MinimalNormSettings


def minimal_norm(network: nn.Module, x: Tensor, y: Tensor, settings: MinimalNormSettings, seed: int) -> Tensor:
    """The nearest images of another class than y that the attack finds, `(N, C, H, W)`.

    Where it finds none: x itself, of DeepFool the last picture that it tried.
    With a `strength` an image that is farther away is brought back to the border of that ball, where the network may
    say y again.

    Args:
        network: images in [0, 1] to logits, in evaluation mode, its weights without gradients: Foolbox would leave
            some in them.
        x: `(N, C, H, W)` in [0, 1].
        y: labels that the network is to leave, `(N,)`.
        settings: which attack, and how.
        seed: of the directions that DDN draws where a gradient is zero; global random state stays as it was.
    """
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device=x.device)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        found = _attack(settings).run(model, x, foolbox.Misclassification(y))
    # Carlini and Wagner's attack hands over a black picture where it finds none.
    blank = found.flatten(1).eq(0).all(dim=1).reshape(-1, *[1] * (x.dim() - 1))
    found = torch.where(blank, x, found).clamp(0, 1)
    return found if settings.strength is None else into_ball(found, x, settings.strength, settings.norm)


def _attack(settings: MinimalNormSettings) -> foolbox.Attack:
    if isinstance(settings, DDNSettings):
        return DDNAttack(init_epsilon=settings.first_radius, steps=settings.steps, gamma=settings.gamma)
    if isinstance(settings, DeepFoolSettings):
        kind = LinfDeepFoolAttack if settings.norm == "linf" else L2DeepFoolAttack
        # All classes are candidates: Foolbox would say through the root logger that it takes fewer.
        return kind(steps=settings.steps, candidates=None, overshoot=settings.overshoot)
    assert isinstance(settings, CarliniWagnerSettings)
    return L2CarliniWagnerAttack(
        binary_search_steps=settings.searches,
        steps=settings.steps,
        stepsize=settings.step_size,
        initial_const=settings.first_constant,
        abort_early=False,  # it would look at the loss of the whole batch
    )
