"""What an attack returns."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

TERM = "term "
"""Prefix of the names of the objective's terms in a file."""


@dataclass(frozen=True)
class AttackResult:
    """One row for each attacked image, failures included.

    x, x_adv: images `(N, C, H, W)` in [0, 1]; of a latent attack x_adv = clip(G(z) + δ, 0, 1).
    y, target: labels `(N,)`; the target of an untargeted attack is the victim's prediction for x_adv, y if it failed.
    start: `(N,)`, the index of the start (see `Attack.start_names`) that led to x_adv.
    steps: `(N,)`, the step at which x_adv was found, counted from the first start.
    diverged: `(N,)`, whether a value was NaN or infinite; a latent attack then returns its best code before.
    terms: name → `(N, F)`, the terms of the objective and the multiplier k at F evenly spaced steps.
    z0, z_start, z: codes `(N, D)`: the posterior mean of x, the code of the start that led to x_adv, and the final
        code; None for an attack without codes.
    path: `(N, F, D)`, codes at those steps; None for an attack without codes.
    residual_path: `(N, F, C, H, W)`, the residual δ at those steps; None for an attack without one.
    """

    x: Tensor
    x_adv: Tensor
    y: Tensor
    target: Tensor
    start: Tensor
    steps: Tensor
    diverged: Tensor
    terms: dict[str, Tensor]
    z0: Tensor | None = None
    z_start: Tensor | None = None
    z: Tensor | None = None
    path: Tensor | None = None
    residual_path: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: slice) -> "AttackResult":
        return AttackResult.from_tensors({name: value[rows] for name, value in self.tensors().items()})

    @property
    def trace_points(self) -> int:
        """F, the number of recorded steps."""
        return next(iter(self.terms.values())).shape[1]

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by their names in a file."""
        columns = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return columns | {TERM + name: value for name, value in self.terms.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "AttackResult":
        """The inverse of `tensors`; other names are ignored.

        Raises:
            KeyError: a column is missing.
        """
        columns: dict[str, Any] = {
            field.name: tensors.get(field.name) if field.default is None else tensors[field.name]
            for field in fields(cls)
            if field.name != "terms"
        }
        terms = {name.removeprefix(TERM): value for name, value in tensors.items() if name.startswith(TERM)}
        return cls(**columns, terms=terms)


def concatenate(results: Iterable[AttackResult], count: int) -> AttackResult:
    """The rows of several results, one after the other; each result is only needed until the next one is.

    Args:
        count: of all rows.
    """
    columns: dict[str, Tensor] = {}
    done = 0
    for result in results:
        for name, rows in result.tensors().items():
            if name not in columns:
                columns[name] = rows.new_empty((count, *rows.shape[1:]))
            columns[name][done : done + len(rows)] = rows
        done += len(result)
    return AttackResult.from_tensors(columns)
