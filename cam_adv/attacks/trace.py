"""The steps of an attack that are recorded."""

import torch


def evenly_spaced(last: int, count: int) -> list[int]:
    """`count` evenly spaced integers from 0 to `last`, both included; all of them if there are fewer."""
    return torch.linspace(0, last, min(count, last + 1), dtype=torch.float64).round().long().tolist()
