"""Study `min_perturbation`: how little can fool the victim?"""

import torch
from torch import Tensor

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.runtime.progress import Progress
from cam_adv.schema.run import RunSettings
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext
from cam_adv.studies.min_perturbation.bounds import PerturbationBounds
from cam_adv.studies.min_perturbation.clever import clever
from cam_adv.studies.min_perturbation.config import MinPerturbationConfig
from cam_adv.studies.min_perturbation.report import (
    NORMS,
    min_perturbation_content,
    min_perturbation_figure,
    print_min_perturbation,
    write_bounds,
)
from cam_adv.studies.min_perturbation.search import find_minimal_perturbation, number_of_attacks


class MinPerturbation(Study, MinPerturbationConfig):
    """The least perturbation of some test images: estimated from below by CLEVER, found from above by attacks."""

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return frozenset({"victim"})

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        self._sample(torch.ones(len(splits.test), dtype=torch.bool), settings.seed)

    def run(self, context: StudyContext) -> None:
        """See `Study.run`."""
        victim, test, seed, device = context.victim, context.splits.test, context.settings.seed, context.device
        index = self._sample(context.correct(test), seed)
        x, y = to_unit_range(test.images[index].to(device)), test.labels[index].to(device)
        count = number_of_attacks(len(x), len(self.radii), self.search)
        with Progress("nearest adversarial images", count, "attacks") as progress:
            found = find_minimal_perturbation(victim, x, y, list(self.radii), self.search, progress.advance)
        bounds = {}
        for norm, radius in self.radii.items():
            # Each norm has a generator of its own: its estimate doesn't depend on which others are estimated.
            generator = torch.Generator().manual_seed(seed)
            with Progress(f"CLEVER under {NORMS[norm]}", len(x) * self.batches, "batches of points") as progress:
                estimate = clever(
                    victim,
                    x,
                    y,
                    norm,
                    radius,
                    self.batches,
                    self.samples,
                    self.shape_penalty,
                    generator,
                    progress.advance,
                )
            bounds[norm] = PerturbationBounds(norm, radius, self.poor_below, estimate, found[norm])
        heading = f"how little fools {context.settings.model.victim.name} on {context.settings.dataset.name}"
        csv_file = context.folder / f"{self.name}.csv"
        write_bounds(bounds, index, test.labels[index], context.splits.class_names, csv_file)
        print_min_perturbation(bounds, heading)
        context.drawing.draw(f"{self.name}.png", min_perturbation_figure, bounds, heading)
        context.write_json(self.name, min_perturbation_content(bounds))

    def _sample(self, eligible: Tensor, seed: int) -> Tensor:
        """Positions of `images` of the `eligible` `(T,)` test images, drawn by the seed, in their order.

        Raises:
            UserError: there are fewer.
        """
        pool = eligible.nonzero().squeeze(1)
        if len(pool) < self.images:
            raise UserError(
                f"study.images={self.images}, but there are only {len(pool)} test images."
                if eligible.all()
                else f"study.images={self.images}, but the victim is right on only {len(pool)} test images.",
                f"Set study.images to {len(pool)} or less.",
            )
        drawn = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))[: self.images]
        return pool[drawn].sort().values
