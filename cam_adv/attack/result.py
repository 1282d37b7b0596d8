"""What an attack hands over, and its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from cam_adv.writing import whole

TERM = "term "
"""Prefix of the names under which a file keeps the terms of the objective."""


@dataclass(frozen=True)
class AttackResult:
    """One row for each attacked image, failures included.

    x, x_adv: images `(N, C, H, W)` in [0, 1]; of a latent attack x_adv = G(z).
    z0, z: codes `(N, D)`: the posterior mean of x, and where the walk ended; of a pixel attack the mean of x_adv.
    y, target: labels `(N,)`; of an untargeted attack the target is what the victim says of x_adv, y where it failed.
    start: `(N,)`, which of the attack's starts the walk to z began at.
    steps: `(N,)`, the step at which z was met, counted from the first start.
    diverged: `(N,)`, whether the attack met NaN or infinity, and went back to the best that it had before.
    path: `(N, F, D)`, codes at evenly spaced steps; of a pixel attack the means of the pictures there.
    terms: name → `(N, F)`, terms of the objective and the multiplier k along the path.
    """

    x: Tensor
    x_adv: Tensor
    z0: Tensor
    z: Tensor
    y: Tensor
    target: Tensor
    start: Tensor
    steps: Tensor
    diverged: Tensor
    path: Tensor
    terms: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: slice) -> "AttackResult":
        fields = {name: value[rows] for name, value in vars(self).items() if name != "terms"}
        return AttackResult(**fields, terms={name: value[rows] for name, value in self.terms.items()})

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, as a file keeps it."""
        fields = {name: value for name, value in vars(self).items() if name != "terms"}
        return fields | {TERM + name: value for name, value in self.terms.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "AttackResult":
        """The inverse of `tensors`."""
        terms = {name.removeprefix(TERM): value for name, value in tensors.items() if name.startswith(TERM)}
        return cls(**{name: tensors[name] for name in cls.__dataclass_fields__ if name != "terms"}, terms=terms)


def concatenate(results: Sequence[AttackResult]) -> AttackResult:
    """The rows of several results, one after the other."""
    columns = [result.tensors() for result in results]
    return AttackResult.from_tensors({name: torch.cat([one[name] for one in columns]) for name in columns[0]})


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file that appears whole or not at all."""
    with whole(path) as unfinished:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, unfinished)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file: data only, nothing is executed."""
    return load_file(path)
