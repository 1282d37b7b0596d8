"""Minimal-norm attacks through Foolbox: the extra `cam-adv[foolbox]`."""

import os
from abc import abstractmethod
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from cam_adv.attacks.minimal_norm import MinimalNormAttack
from cam_adv.errors import UserError
from cam_adv.schema.fields import Count, NotNegative, Positive

if TYPE_CHECKING:
    from foolbox import Attack


class FoolboxAttack(MinimalNormAttack):
    """An attack of Foolbox; a subclass names it in `foolbox_attack`."""

    @abstractmethod
    def foolbox_attack(self) -> "Attack":
        """The attack of Foolbox with these settings."""

    def search(self, victim: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
        """See `MinimalNormAttack.search`; DeepFool returns its last image where it finds none.

        The global random state stays as it was.
        """
        # Foolbox's model zoo needs git, and warns where there is none; no attack uses it.
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        import foolbox  # an optional dependency

        model = foolbox.PyTorchModel(victim, bounds=(0, 1), device=x.device)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            found = self.foolbox_attack()(model, x, foolbox.Misclassification(y), epsilons=None)[0]
        # Carlini and Wagner's attack returns a black image where it finds no adversarial one.
        blank = found.flatten(1).eq(0).all(dim=1).reshape(-1, *[1] * (x.dim() - 1))
        return torch.where(blank, x, found).clamp(0, 1)

    @model_validator(mode="after")
    def _foolbox_is_there(self) -> Self:
        if find_spec("foolbox") is None:
            raise UserError(
                f"attack={self.name} needs the package foolbox.", "Install it with pip install 'cam-adv[foolbox]'."
            )
        return self


class DeepFool(FoolboxAttack):
    """Steps to the linearised decision boundary (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599).

    overshoot: share by which each step goes beyond the boundary.
    """

    overshoot: NotNegative

    def foolbox_attack(self) -> "Attack":
        """See `FoolboxAttack.foolbox_attack`."""
        from foolbox.attacks import L2DeepFoolAttack, LinfDeepFoolAttack

        kind = LinfDeepFoolAttack if self.norm == "linf" else L2DeepFoolAttack
        # None: all classes are candidates. With fewer, Foolbox writes a message to the root logger.
        return kind(steps=self.steps, candidates=None, overshoot=self.overshoot)


class CarliniWagner(FoolboxAttack):
    """Minimises squared distance plus c times the margin (Carlini and Wagner 2017, arXiv 1608.04644).

    searches: rounds of the binary search for c, of `steps` steps each.
    step_size: of Adam, in the space of artanh(2x − 1).
    first_constant: c in the first round.
    """

    norm: Literal["l2"]
    searches: Count
    step_size: Positive
    first_constant: Positive

    @property
    def steps_per_init(self) -> int:
        return self.searches * self.steps

    def foolbox_attack(self) -> "Attack":
        """See `FoolboxAttack.foolbox_attack`."""
        from foolbox.attacks import L2CarliniWagnerAttack

        return L2CarliniWagnerAttack(
            binary_search_steps=self.searches,
            steps=self.steps,
            stepsize=self.step_size,
            initial_const=self.first_constant,
            abort_early=False,  # early stopping would depend on the loss of the whole batch
        )
