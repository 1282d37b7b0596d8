"""The losses of stored trainings, read from their TensorBoard events."""

import logging
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

LOSSES = (
    "train/loss",
    "validation/loss",
    "train/J_KL",
    "train/J_2",
    "train/J_dec",
    "validation/reconstruction_nats",
    "train/discriminator_loss",
)
"""Tags of a training that are drawn, in nats; TensorBoard has the others too."""

logging.getLogger("tensorboard").setLevel(logging.WARNING)  # it logs each file that it reads


def training_losses(folder: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Epochs and values of each loss that a training in the store has."""
    events = EventAccumulator(str(folder))
    events.Reload()
    recorded = events.Tags()["scalars"]
    # Stored models of earlier versions have their losses against training steps, and the epoch of each.
    epochs = events.Scalars("epoch") if "epoch" in recorded else []
    epoch_of_step = {event.step: int(event.value) + 1 for event in epochs}
    return {tag: _against_epochs(events.Scalars(tag), epoch_of_step) for tag in LOSSES if tag in recorded}


def _against_epochs(events: list[ScalarEvent], epoch_of_step: dict[int, int]) -> tuple[list[int], list[float]]:
    """Epochs and their values in order, one value for each epoch: a resumed training has written some twice."""
    values = {epoch_of_step.get(event.step, event.step): event.value for event in events}
    return sorted(values), [values[epoch] for epoch in sorted(values)]
