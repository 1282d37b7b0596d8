"""Can this generator carry this dataset, and can this judge read it? Asked before an attack."""

from dataclasses import dataclass

from torch import Tensor

from cam_adv.data.human_labels import NOTHING
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.splits import LabelledImages
from cam_adv.metrics.active_latents import collapse_warning, count_active_latents
from cam_adv.metrics.evaluator import Evaluator, Predictions
from cam_adv.models.predictions import batched_apply
from cam_adv.schema.fields import Index, StrictModel, UnitShare


class PreconditionSettings(StrictModel):
    """Below one of these values the run says that its rates say little.

    judge_read: share of real test images that the judge reads as their label.
    reconstruction_read: share of their reconstructions G(mu(x)) that it still does.
    active_latents: number of latents that depend on the image.
    """

    judge_read: UnitShare
    reconstruction_read: UnitShare
    active_latents: Index


@dataclass(frozen=True)
class Preconditions:
    """What was measured on test images; see `PreconditionSettings`.

    judge_accepts: share of real test images in which the judge reads a class.
    judge_right: of those, the share that it reads as their label; 0 if there are none.
    reconstruction_rms: root mean square error of the pixels of their reconstructions, in [0, 1].
    held_out_images, least_held_out_images: with how many the judge was fitted, and with how many it can read nothing.
    """

    judge_accepts: float
    judge_right: float
    judge_read: float
    reconstruction_read: float
    reconstruction_rms: float
    active_latents: int
    held_out_images: int
    least_held_out_images: int

    @classmethod
    def measure(cls, test: LabelledImages, on_test: Predictions, evaluator: Evaluator) -> "Preconditions":
        """On all test images.

        Args:
            on_test: predictions for them.
        """
        reconstructions = batched_apply(evaluator.generator.decode, on_test.codes, evaluator.device)
        on_reconstructions = evaluator.judge.read(reconstructions, evaluator.device)
        accepted = on_test.judge_reads != NOTHING
        return cls(
            judge_accepts=_share(accepted),
            judge_right=_share((on_test.judge_reads == test.labels)[accepted]),
            judge_read=_share(on_test.judge_reads == test.labels),
            reconstruction_read=_share(on_reconstructions.reads == test.labels),
            reconstruction_rms=(reconstructions - to_unit_range(test.images)).square().mean().sqrt().item(),
            active_latents=count_active_latents(evaluator.generator, test.images, evaluator.device),
            held_out_images=evaluator.judge.held_out,
            least_held_out_images=evaluator.judge.least_held_out,
        )

    def warnings(self, least: PreconditionSettings, latents: int) -> list[str]:
        """A sentence on each precondition that is not met, with what to do.

        Args:
            latents: number of latents of the generator.
        """
        found = []
        if self.held_out_images < self.least_held_out_images:
            found.append(
                f"The judge was fitted on {self.held_out_images} held-out images, too few to read nothing in any "
                f"picture: at model.judge.level it needs {self.least_held_out_images}. Raise "
                "dataset.split.validation or model.judge.level."
            )
        if self.judge_read < least.judge_read:
            found.append(
                f"The judge reads {self.judge_read:.0%} of real test images as their label, less than "
                f"{least.judge_read:.0%}: what it says of attacked images says little. Give it more images or epochs "
                "(model.judge.training.epochs), or wider members."
            )
        if self.active_latents < least.active_latents:
            found.append(collapse_warning(self.active_latents, latents))
        if self.reconstruction_read < least.reconstruction_read:
            found.append(
                f"This generator cannot carry this dataset: the judge reads {self.reconstruction_read:.0%} of its "
                f"reconstructions of test images as their label, less than {least.reconstruction_read:.0%}, so the "
                "rates of an attack through it say little. Train it longer (model.generator.training), "
                "make it larger (model.generator.network), or give one that fits (model/generator)."
            )
        return found


def _share(met: Tensor) -> float:
    return met.double().mean().item() if len(met) else 0.0
