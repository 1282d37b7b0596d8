"""The maps of an attack's images by the attributions of the config, for `attack.safetensors`."""

from collections.abc import Mapping

from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.attributions.robust import RobustInterpretation
from cam_adv.plots.interpretation import ShownExplanation
from cam_adv.schema.attribution import RobustSettings
from cam_adv.studies.context import StudyContext
from cam_adv.studies.explanation_reliability.maps import make_maps

ABSTAINED = "abstained"
"""Of a robust interpretation, in front of `_x` and `_x_adv`."""


def explain_result(
    context: StudyContext, result: AttackResult, interpretation: RobustInterpretation | None
) -> dict[str, Tensor]:
    """Maps of y of x and of x', against y' where the attribution contrasts two classes, by their names in the file.

    `<attribution>_x` and `<attribution>_x_adv`, `(N, h, w)`. Of a robust interpretation `robust_…`, `abstained_…`,
    `answer_…`, and the image as it would have to be for y and for y', `as_y_…` and `as_target_…`; see
    `RobustExplanation`.

    Args:
        interpretation: that of the config; None where it has none.
    """
    tensors: dict[str, Tensor] = {}
    for name, settings in context.settings.attribution.items():
        for suffix, images in (("x", result.x), ("x_adv", result.x_adv)):
            if not isinstance(settings, RobustSettings):
                layer_target = context.layer_target()
                tensors[f"{name}_{suffix}"] = make_maps(
                    settings, layer_target, images, result.y, result.target, context.device
                )
                continue
            on_device = (part.to(context.device) for part in (images, result.y, result.target))
            assert interpretation is not None
            explained = interpretation.explain(*on_device)
            tensors |= {
                f"robust_{suffix}": explained.maps,
                f"{ABSTAINED}_{suffix}": explained.abstained,
                f"answer_{suffix}": explained.answer,
                f"as_y_{suffix}": explained.as_label,
                f"as_target_{suffix}": explained.as_target,
            }
    return tensors


def shown_explanations(tensors: Mapping[str, Tensor]) -> tuple[ShownExplanation, ShownExplanation] | None:
    """What a robust interpretation shows of x and of x', from the file's tensors; None where there was none."""
    if f"{ABSTAINED}_x" not in tensors:
        return None
    x, x_adv = (
        ShownExplanation(
            tensors[suffix],
            *(tensors[f"{name}_{suffix}"] for name in ("robust", ABSTAINED, "as_y", "as_target")),
        )
        for suffix in ("x", "x_adv")
    )
    return x, x_adv


def abstention_shares(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """On which shares of the images x and x' a robust interpretation abstains; empty where there is none."""
    names = (f"{ABSTAINED}_x", f"{ABSTAINED}_x_adv")
    return {name: tensors[name].double().mean().item() for name in names if name in tensors}
