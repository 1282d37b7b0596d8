"""An attack's result with what everybody says of it."""

from dataclasses import dataclass

from cam_adv.attack.result import AttackResult
from cam_adv.data.splits import ImageSplits
from cam_adv.evaluation.distances import Distances, measure
from cam_adv.evaluation.opinions import Opinions, Witnesses
from cam_adv.evaluation.verdict import Verdict, type1_verdict


@dataclass(frozen=True)
class Assessment:
    """Opinions on x, on the reconstruction G(mu(x)) and on x' of each attacked image, the verdict, the distances."""

    result: AttackResult
    on_x: Opinions
    on_reconstruction: Opinions
    on_x_adv: Opinions
    verdict: Verdict
    distances: Distances


def assess(result: AttackResult, witnesses: Witnesses, splits: ImageSplits, confidence: float) -> Assessment:
    """Ask everybody about every picture, judge, and measure how far the pictures went.

    Args:
        splits: the real images that x' is compared with.
        confidence: what the victim's probability of y must reach on x' for it to count as kept.
    """
    on_x_adv = witnesses.ask(result.x_adv, result.z)
    return Assessment(
        result,
        witnesses.ask(result.x, result.z0),
        witnesses.ask(witnesses.draw(result.z0), result.z0),
        on_x_adv,
        type1_verdict(on_x_adv.victim, on_x_adv.judge, result.y, result.target, confidence),
        measure(result.x, result.x_adv, result.target, witnesses.judge, splits.train, splits.test, witnesses.device),
    )
