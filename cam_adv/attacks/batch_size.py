"""How many images are attacked together."""

import logging

import torch
from torch import Tensor

from cam_adv.attacks.base import BoundAttack
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection
from cam_adv.data.splits import LabelledImages
from cam_adv.models.predictions import batch_size
from cam_adv.runtime.devices import main_device
from cam_adv.schema.hardware import HardwareSettings

log = logging.getLogger(__name__)

CPU_BATCH = 128
"""Images of up to 64×64 pixels that are attacked together on a CPU: more are not faster there."""

FEW, MORE = 16, 32
"""Images of the two attacks on which the memory for an image is measured."""

SHARE = 0.6
"""Of the free memory of a GPU that a batch may take: measured memory leaves out what lies between its pieces."""

GPU_BATCH = 8192
"""Largest batch on a GPU: more are not faster there."""


def resolve_batch_size(
    attack: BoundAttack, data: LabelledImages, selection: Selection, hardware: HardwareSettings
) -> int:
    """`attack.batch_size`, or the number of images that is meant by `auto`.

    On a CPU this depends on the size of the images alone. On a GPU it is as many as its free memory holds: one step
    of the attack is done on a few images and on more, and their peaks of memory compared.
    """
    wanted = attack.attack.batch_size
    if wanted != "auto":
        return wanted
    device = main_device(hardware)
    if device.type == "cpu":
        return batch_size(data.images[0].numel(), CPU_BATCH)
    share = -(-len(selection) // hardware.processes)
    if share <= FEW:
        return max(1, share)
    short = attack.with_steps(1).to(device)
    rows = torch.arange(MORE) % len(selection)
    x = to_unit_range(data.images[selection.index[rows]].to(device))
    y, target = selection.y[rows].to(device), selection.target[rows].to(device)
    for_few, for_more = (_peak_memory(short, x[:count], y[:count], target[:count]) for count in (FEW, MORE))
    attack.cpu()
    torch.cuda.empty_cache()
    each = max(1, (for_more - for_few) // (MORE - FEW))
    size = largest_batch(each, torch.cuda.mem_get_info(device)[0], share)
    log.info("An attacked image takes %.1f MB of the GPU's memory: batches of %d images.", each / 1e6, size)
    return size


def largest_batch(bytes_per_image: int, free: int, images: int) -> int:
    """The size of the batches of `images` images on a GPU with `free` bytes of memory: all, or a power of two."""
    fits = max(1, min(GPU_BATCH, int(SHARE * free) // bytes_per_image))
    return images if images <= fits else 2 ** (fits.bit_length() - 1)


def _peak_memory(attack: BoundAttack, x: Tensor, y: Tensor, target: Tensor) -> int:
    """Bytes that an attack takes on a GPU at most."""
    torch.cuda.reset_peak_memory_stats(x.device)
    attack(x, y, target)
    return torch.cuda.max_memory_allocated(x.device)
