"""The three claims about each explanation, from the rows that were measured to an answer.

H1 and H2 are answered by the attack of the settings, H3 by the stronger one: an attack that stops at the confidence
it was asked for has hardly an honest image to be matched with. All are measured for both.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from cam_adv.reliability.concealment import swap_test
from cam_adv.reliability.finding import Estimate, Finding, Verdict, answer, corrected, estimate, opposite, worst
from cam_adv.reliability.observation import CHANGE, Table
from cam_adv.reliability.scene import ATTACKED
from cam_adv.settings import ReliabilitySettings

ATTACK, STRONGER = "attack", "stronger attack"
ANSWERED_BY = {"h1": ATTACK, "h2": ATTACK, "h3": STRONGER}
CLAIMS = tuple(ANSWERED_BY)
Findings = dict[str, dict[str, Finding]]
"""Explanation → claim → finding."""


class Claims:
    """Answers by one plan; `seed` draws resamples and signs."""

    def __init__(self, plan: ReliabilitySettings, seed: int) -> None:
        self.plan = plan
        self.seed = seed

    def instability(self, tables: Mapping[str, Table]) -> dict[str, Finding]:
        """H1: change by the attack less change by the matched control that comes nearest to it.

        The details hold the change itself, and the difference from every control and from networks that know
        nothing.
        """
        matters, found, details = self.plan.matters.instability, {}, {}
        for name, rows in tables.items():
            attack = rows[CHANGE + ATTACKED]
            beside = {key.removeprefix(CHANGE): key for key in rows if key.startswith(CHANGE)}
            del beside[ATTACKED]
            differences = {
                f"attack - {other}": self._estimate(rows, attack - rows[key], matters)
                for other, key in beside.items()
            }
            found[name] = worst({other: differences[f"attack - {other}"] for other in self.plan.matched})
            details[name] = {"attack": self._estimate(rows, attack, matters)} | differences
        return self._findings(found, details, matters)

    def unfaithfulness(self, tables: Mapping[str, Table]) -> dict[str, Finding]:
        """H2: advantage over a random ranking on x less that on x'.

        Where x shows no advantage that matters there is nothing to lose, and that it wasn't lost is no answer:
        undecided. Both are in the details, and that of one mean map for all pictures, which an explanation should
        exceed.
        """
        matters, found, details = self.plan.matters.unfaithfulness, {}, {}
        for name, rows in tables.items():
            x, attack = rows["advantage x"], rows["advantage attack"]
            found[name] = self._estimate(rows, x - attack, matters)
            details[name] = {
                end: self._estimate(rows, rows[f"advantage {end}"], matters) for end in ("x", "attack", "mean_map")
            }
        findings = self._findings(found, details, matters)
        return {name: replace(finding, verdict=_lost(finding, matters)) for name, finding in findings.items()}

    def concealment(self, tables: Mapping[str, Table]) -> dict[str, Finding]:
        """H3, that the effect is *not* there: AUC of map and confidence less AUC of confidence alone.

        Where confidence alone still tells the pairs apart, they are not matched, and what a map could add to that is
        no answer; where the detector does not even know the maps of real images of class y', that it finds nothing
        is none either: undecided. The details hold all AUCs less ½, and the share of attacked maps that pass as
        genuine.
        """
        matters, found, details = self.plan.matters.concealment, {}, {}
        for name, pairs in tables.items():
            added = self._estimate(pairs, pairs["both"] - pairs["confidence"], matters)
            found[name] = replace(added, p=swap_test(pairs))
            details[name] = {
                f"AUC of {what} - 0.5": self._estimate(pairs, pairs[what] - 0.5, matters)
                for what in ("map", "confidence", "both", "other class")
            } | {"passes": self._estimate(pairs, pairs["passes"], matters)}
        findings = self._findings(found, details, matters)
        return {name: replace(finding, verdict=_concealed(finding, matters)) for name, finding in findings.items()}

    def _estimate(self, table: Table, values: Tensor, matters: float) -> Estimate:
        plan = self.plan
        return estimate(values, table["victim"], table["image"], matters, plan.resamples, plan.level, self.seed)

    def _findings(
        self, found: Mapping[str, Estimate], details: Mapping[str, Mapping[str, Estimate]], matters: float
    ) -> dict[str, Finding]:
        return {
            name: Finding(one, answer(one, matters, self.plan.level), details[name])
            for name, one in corrected(found).items()
        }


def _lost(finding: Finding, matters: float) -> Verdict:
    had = finding.details["x"].low > matters
    return finding.verdict if had else "undecided"


def _concealed(finding: Finding, matters: float) -> Verdict:
    matched = not finding.details["AUC of confidence - 0.5"].low > matters
    able = finding.verdict == "yes" or finding.details["AUC of other class - 0.5"].low > matters
    return opposite(finding.verdict) if matched and able else "undecided"


def answers(by_attack: Mapping[str, Findings]) -> Findings:
    """Each claim's finding from the attack that answers it."""
    return {
        name: {claim: by_attack[attack][name][claim] for claim, attack in ANSWERED_BY.items()}
        for name in by_attack[ATTACK]
    }


def ranking(findings: Findings) -> list[str]:
    """Explanations from the hardest to fool to the easiest.

    By the mean of their three places: the map that moves least beyond its controls, that loses least of its
    advantage, and that betrays most to a detector comes first in each. One without an estimate comes last in it.
    """
    better = {"h1": -1, "h2": -1, "h3": 1}

    def place(name: str, claim: str) -> int:
        def merit(one: str) -> float:
            effect = findings[one][claim].estimate.effect
            return better[claim] * effect if effect == effect else float("-inf")  # NaN is not equal to itself

        return sum(merit(other) > merit(name) for other in findings)

    return sorted(findings, key=lambda name: (sum(place(name, claim) for claim in CLAIMS), name))
