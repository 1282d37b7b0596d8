"""How often an attack is concealed: the judge reads y', the victim keeps y, and the explanation gives no alarm."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cam_adv.metrics.intervals import Interval, Rate, clustered_rate, newcombe_paired, wilson
from cam_adv.studies.robust_explanation.map_alarm import map_alarms


@dataclass(frozen=True)
class ExplainedImages:
    """What an explanation shows of N images, on the CPU.

    maps: raw, of the class y against y', `(N, h, w)`; not defined where there is none.
    abstained: where it shows no map, `(N,)` bool.
    y: `(N,)`.
    """

    maps: Tensor
    abstained: Tensor
    y: Tensor

    def shown(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The maps that are shown of some rows `(N,)` bool, and their classes."""
        chosen = rows & ~self.abstained
        return self.maps[chosen], self.y[chosen]


@dataclass(frozen=True)
class Alarms:
    """Of one explanation under one attack.

    abstained, alarm: of each attacked image, `(N,)` bool; an abstention is an alarm.
    false_alarm: of each honest image, `(M,)` bool.
    alarm and false_alarm are None where there are too few maps for a detector; but where no successful attack shows
    a map, `alarm` needs none.
    """

    abstained: Tensor
    alarm: Tensor | None
    false_alarm: Tensor | None


def give_alarms(
    attacked: ExplainedImages,
    success: Tensor,
    calibration: ExplainedImages,
    honest: ExplainedImages,
    cluster: Tensor,
    level: float,
    folds: int,
    seed: int,
) -> Alarms:
    """Alarms by abstention and by the map. The detector of maps learns from those that a successful attack shows.

    Args:
        success: which attacked images count, `(N,)` bool; on the others only abstentions are alarms.
        calibration: honest images that set the detector's threshold. honest: others, on which it is only tried.
        cluster: of each attacked image, `(N,)`; those of a cluster depend on each other.
        level: share of false alarms among the honest maps that are shown.
        folds, seed: of the detector's cross-validation.
    """
    every_calibration, every_honest = (torch.ones_like(one.abstained) for one in (calibration, honest))
    judged = success & ~attacked.abstained
    by_map = map_alarms(
        attacked.shown(success),
        calibration.shown(every_calibration),
        honest.shown(every_honest),
        cluster[judged],
        level,
        folds,
        seed,
    )
    alarm, false_alarm = attacked.abstained.clone(), honest.abstained.clone()
    if by_map is None:
        return Alarms(attacked.abstained, None if judged.any() else alarm, None)
    alarm[judged], false_alarm[~honest.abstained] = by_map
    return Alarms(attacked.abstained, alarm, false_alarm)


@dataclass(frozen=True)
class Concealment:
    """Rates over all attacked images, with 95% intervals.

    concealed: the attack succeeds and the explanation gives no alarm. abstained: on x'.
    false_alarms: on honest images.
    difference: concealed, less that of the reference on the same images; None of the reference itself.
    All but `abstained` are None where there are too few maps for a detector, whose alarms are not known then.
    """

    concealed: Rate | None
    abstained: Rate
    false_alarms: Rate | None
    difference: Interval | None


def measure_concealment(
    alarms: Mapping[str, Alarms], success: Tensor, cluster: Tensor, reference: str
) -> dict[str, Concealment]:
    """Of each explanation under one attack.

    Args:
        alarms: explanation → alarms.
        success: `(N,)` bool. cluster: of each image; rates have intervals for images that depend on each other by it.
        reference: one of the explanations.
    """
    concealed = {name: None if one.alarm is None else success & ~one.alarm for name, one in alarms.items()}

    def rate(met: Tensor) -> Rate:
        return clustered_rate(met.tolist(), cluster.tolist())

    return {
        name: Concealment(
            None if (met := concealed[name]) is None else rate(met),
            rate(one.abstained),
            None if (false := one.false_alarm) is None else wilson(int(false.sum()), len(false)),
            None if name == reference else _paired_difference(met, concealed[reference]),
        )
        for name, one in alarms.items()
    }


def _paired_difference(one: Tensor | None, reference: Tensor | None) -> Interval | None:
    """The share of `one` less that of the reference, where both are known."""
    if one is None or reference is None:
        return None
    counts = (one & reference, ~one & reference, one & ~reference, ~one & ~reference)
    return newcombe_paired(*(int(part.sum()) for part in counts))
