"""An attack's result with what everybody says of it."""

from dataclasses import dataclass

from torch import Tensor

from cam_adv.attack.result import AttackResult
from cam_adv.data.splits import ImageSplits
from cam_adv.evaluation.distances import Distances, measure
from cam_adv.evaluation.opinions import Opinions, Witnesses
from cam_adv.evaluation.verdict import Verdict, type1_verdict, type2_verdict
from cam_adv.settings import AttackSettings, Kind, LatentAttackSettings


@dataclass(frozen=True)
class Assessment:
    """Opinions on x, on the reconstruction G(mu(x)) and on x' of each attacked image, the verdict, the distances."""

    kind: Kind
    result: AttackResult
    on_x: Opinions
    on_reconstruction: Opinions
    on_x_adv: Opinions
    verdict: Verdict
    distances: Distances

    @property
    def to_be_seen(self) -> Tensor:
        """What the judge must say of x' for a success: y' under Type I, y under Type II; `(N,)`."""
        return to_be_seen(self.kind, self.result)


def assess(result: AttackResult, witnesses: Witnesses, splits: ImageSplits, plan: AttackSettings) -> Assessment:
    """Ask everybody about every picture, judge, and measure how far the pictures went.

    Args:
        splits: the real images that x' is compared with.
        plan: the attack, which says by which verdict it is judged.
    """
    on_x_adv = witnesses.ask(result.x_adv, result.z)
    seen = to_be_seen(plan.kind, result)
    return Assessment(
        plan.kind,
        result,
        witnesses.ask(result.x, result.z0),
        witnesses.ask(witnesses.draw(result.z0), result.z0),
        on_x_adv,
        judge(plan, result, on_x_adv),
        measure(result.x, result.x_adv, seen, witnesses.judge, splits.train, splits.test, witnesses.device),
    )


def to_be_seen(kind: Kind, result: AttackResult) -> Tensor:
    """See `Assessment.to_be_seen`."""
    return result.target if kind == "type1" else result.y


def judge(plan: AttackSettings, result: AttackResult, on_x_adv: Opinions) -> Verdict:
    """The verdict on every x', by the rule of the attack's kind."""
    if plan.kind == "type2":
        return type2_verdict(on_x_adv.victim, on_x_adv.judge, result.y)
    assert isinstance(plan, LatentAttackSettings)  # the only attacks of Type I
    return type1_verdict(on_x_adv.victim, on_x_adv.judge, result.y, result.target, plan.confidence)
