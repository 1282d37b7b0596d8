"""Random draws of a training step that a resumed training repeats."""

import torch
from lightning.pytorch import LightningModule

STEPS_APART = 1_000_003
"""Distance between the first steps' seeds of two trainings: a prime beyond any number of steps."""

RANKS_APART = 2**40
"""Distance between the seeds of two processes, which draw for different images."""


def step_generator(module: LightningModule, seed: int) -> torch.Generator:
    """A generator on the CPU for the step that `module` is at, in the process that it is in."""
    step = seed * STEPS_APART + module.global_step
    return torch.Generator().manual_seed(step + module.global_rank * RANKS_APART)
