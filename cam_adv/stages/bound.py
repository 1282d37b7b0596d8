"""Stage "bound": how little can fool the victim?"""

from pathlib import Path

import torch
from torch import Tensor

from cam_adv.bound.bracket import Bracket
from cam_adv.bound.clever import clever
from cam_adv.bound.least import least
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.hardware.devices import main_device
from cam_adv.networks.predictions import in_batches, unit
from cam_adv.report import files, terminal
from cam_adv.report.bound import bound_content, draw_bound, print_bound, write_bound
from cam_adv.settings import Settings
from cam_adv.training.workshop import Models


def run(settings: Settings, splits: ImageSplits, models: Models, folder: Path) -> None:
    """Estimate the least perturbation of some test images by CLEVER, look for it by attacks, and tell of both."""
    assert models.victim is not None
    plan, test, device = settings.bound, splits.test, main_device(settings.hardware)
    victim = models.victim.network.to(device)
    eligible = in_batches(victim, test.images, device).argmax(dim=1) == test.labels
    index = choose(settings, eligible)
    x, y = unit(test.images[index].to(device)), test.labels[index].to(device)
    found = least(victim, x, y, list(plan.radii), plan.search)
    brackets = {}
    for norm, radius in plan.radii.items():
        # Each norm draws from its own beginning: what is measured of one doesn't depend on which others are.
        generator = torch.Generator().manual_seed(settings.seed)
        estimate = clever(victim, x, y, norm, radius, plan.batches, plan.samples, plan.shape_penalty, generator)
        brackets[norm] = Bracket(norm, radius, plan.poor_below, estimate, found[norm])
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    heading = f"how little fools {settings.model.victim.name} on {settings.dataset.name}"
    write_bound(brackets, index, test.labels[index], splits.class_names, folder / "bound.csv")
    draw_bound(brackets, heading, figures / "bound.png")
    files.write_summary(bound_content(brackets), folder / "bound.json")
    print_bound(brackets, heading)
    terminal.print_paths(folder, settings.outputs)


def choose(settings: Settings, eligible: Tensor) -> Tensor:
    """Positions of `bound.images` of the `eligible` `(T,)` test images, drawn by the seed, in their order.

    Raises:
        UserError: there are fewer.
    """
    pool, count = eligible.nonzero().squeeze(1), settings.bound.images
    if len(pool) < count:
        raise UserError(
            f"bound.images={count}, but the victim is right on only {len(pool)} test images."
            if not eligible.all()
            else f"bound.images={count}, but there are only {len(pool)} test images.",
            f"Set bound.images to {len(pool)} or less.",
        )
    drawn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(settings.seed))[:count]
    return pool[drawn].sort().values
