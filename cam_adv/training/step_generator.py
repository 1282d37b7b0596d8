"""Random draws of a training step, which a resumed training repeats."""

import torch
from lightning.pytorch import LightningModule

SEED_STRIDE = 1_000_003
"""Distance between the first steps' seeds of two trainings: a prime beyond any number of steps."""

RANK_STRIDE = 2**40
"""Distance between the seeds of two ranks, which draw for different images."""


def step_generator(module: LightningModule, seed: int) -> torch.Generator:
    """A generator on the CPU for the current step of `module` on its rank."""
    step_seed = seed * SEED_STRIDE + module.global_step
    return torch.Generator().manual_seed(step_seed + module.global_rank * RANK_STRIDE)
