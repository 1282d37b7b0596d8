"""The one-cycle schedule of the learning rate, for a training of two phases."""

import math

from lightning.pytorch import Trainer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cycle_in_each_phase(optimizer: Optimizer, trainer: Trainer, first_epochs: int, epochs: int) -> LambdaLR:
    """A cycle over the first epochs of a training, and another over the others.

    Args:
        trainer: tells the number of steps.
        first_epochs: of the first phase; 0: there is only one.
        epochs: of both.
    """
    total = int(trainer.estimated_stepping_batches)
    switch = total * first_epochs // epochs

    def rate(step: int) -> float:
        first = step < switch
        return one_cycle(step if first else step - switch, switch if first else total - switch)

    return LambdaLR(optimizer, rate)


def one_cycle(step: int, total: int, warm_up: float = 0.1) -> float:
    """Share of the peak learning rate at `step` of `total`: a linear rise, then a cosine down to zero."""
    position = (step + 1) / max(1, total)
    if position < warm_up:
        return position / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (position - warm_up) / (1 - warm_up))))
