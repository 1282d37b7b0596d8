"""How an optimisation keeps a device at work."""

from dataclasses import dataclass

import torch

from cam_adv.attacks.latent.recorded_steps import CUDAGraphRecorder, Recorder


@dataclass(frozen=True)
class Pace:
    """When an optimisation looks at which samples have stopped, and leaves them out.

    look_every: steps from one look to the next; to look is to wait for the device.
    smallest_batch: batches are halved, down to this size, where that leaves only stopped samples out; None: all
        stopped samples are left out.
    recorder: records steps, if they are repeated as recordings.
    """

    look_every: int
    smallest_batch: int | None
    recorder: Recorder | None


CPU = Pace(look_every=1, smallest_batch=None, recorder=None)

GPU = Pace(look_every=10, smallest_batch=512, recorder=None)
"""A look costs as much as several steps, another batch size the recordings, and a smaller batch takes as long."""


def pace_on(device: torch.device, cuda_graphs: bool) -> Pace:
    """The pace on a device, whose steps are recorded if it is a GPU and `cuda_graphs` is true."""
    if device.type == "cpu":
        return CPU
    recorder = CUDAGraphRecorder() if device.type == "cuda" and cuda_graphs else None
    return Pace(GPU.look_every, GPU.smallest_batch, recorder)
