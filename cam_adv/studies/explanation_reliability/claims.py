"""The three claims about each attribution method, from measured rows to verdicts.

Instability (H1) and unfaithfulness (H2) are decided on the configured attack, concealment (H3) on its
high-confidence variant: an attack that stops at a lower confidence leaves few clean images of equal confidence to be
matched with. All three are measured for both attacks.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from cam_adv.metrics.answers import Answer, negate
from cam_adv.runtime.progress import track
from cam_adv.studies.explanation_reliability.attack_pairs import ADVERSARIAL
from cam_adv.studies.explanation_reliability.concealment import permutation_test
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig
from cam_adv.studies.explanation_reliability.finding import (
    Estimate,
    Finding,
    decide,
    estimate,
    holm_adjust,
    intersection_union,
)
from cam_adv.studies.explanation_reliability.measurements import DISSIMILARITY, Table

ATTACK, HIGH_CONFIDENCE = "attack", "high_confidence_attack"
DECIDED_ON = {"instability": ATTACK, "unfaithfulness": ATTACK, "concealment": HIGH_CONFIDENCE}
CLAIMS = tuple(DECIDED_ON)
Findings = dict[str, dict[str, Finding]]
"""Attribution method → claim → finding."""


class Claims:
    """Tests of the three claims under one configuration; `seed` is that of resamples and sign flips."""

    def __init__(self, config: ReliabilityConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    def instability(self, tables: Mapping[str, Table]) -> dict[str, Finding]:
        """H1: dissimilarity under the attack minus dissimilarity under the matched control with the largest one.

        The details hold the dissimilarity under the attack, and its difference from every control and from the
        sanity-check models.
        """
        min_effect = self.config.min_effect.instability
        estimates, details = {}, {}
        for name, rows in track(list(tables.items()), "H1 instability", "explanations"):
            attack = rows[DISSIMILARITY + ADVERSARIAL]
            controls = {key.removeprefix(DISSIMILARITY): key for key in rows if key.startswith(DISSIMILARITY)}
            del controls[ADVERSARIAL]
            differences = {
                f"attack - {control}": self._estimate(rows, attack - rows[key], min_effect)
                for control, key in controls.items()
            }
            estimates[name] = intersection_union(
                {control: differences[f"attack - {control}"] for control in self.config.matched}
            )
            details[name] = {"attack": self._estimate(rows, attack, min_effect)} | differences
        return self._findings(estimates, details, min_effect)

    def unfaithfulness(self, tables: Mapping[str, Table]) -> dict[str, Finding]:
        """H2: advantage over a random ranking on x minus that on x'.

        Where x has no advantage of the minimal size, the attack has nothing to take away, so an absent loss does not
        refute the claim: undecided. The details hold both advantages, and that of one mean map for all images, which
        an attribution should exceed.
        """
        min_effect = self.config.min_effect.unfaithfulness
        estimates, details = {}, {}
        for name, rows in track(list(tables.items()), "H2 unfaithfulness", "explanations"):
            estimates[name] = self._estimate(rows, rows["advantage x"] - rows["advantage attack"], min_effect)
            details[name] = {
                key: self._estimate(rows, rows[f"advantage {key}"], min_effect) for key in ("x", "attack", "mean_map")
            }
        findings = self._findings(estimates, details, min_effect)
        return {
            name: replace(finding, verdict=_decide_unfaithfulness(finding, min_effect))
            for name, finding in findings.items()
        }

    def concealment(self, tables: Mapping[str, Table]) -> dict[str, Finding]:
        """H3, the absence of an effect: AUC of map and confidence together minus AUC of confidence alone.

        Undecided where confidence alone separates the pairs, which are then not matched; and where the detector
        cannot separate even maps of real images of class y' from clean ones, so that its failure on attacked maps
        shows nothing. The details hold all AUCs minus ½, and the share of attacked maps that evade the detector.
        """
        min_effect = self.config.min_effect.concealment
        estimates, details = {}, {}
        for name, pairs in track(list(tables.items()), "H3 concealment", "explanations"):
            added = self._estimate(pairs, pairs["both"] - pairs["confidence"], min_effect)
            estimates[name] = replace(added, p=permutation_test(pairs))
            details[name] = {
                f"AUC of {column} - 0.5": self._estimate(pairs, pairs[column] - 0.5, min_effect)
                for column in ("map", "confidence", "both", "other_class")
            } | {"evades": self._estimate(pairs, pairs["evades"], min_effect)}
        findings = self._findings(estimates, details, min_effect)
        return {
            name: replace(finding, verdict=_decide_concealment(finding, min_effect))
            for name, finding in findings.items()
        }

    def _estimate(self, table: Table, values: Tensor, min_effect: float) -> Estimate:
        config = self.config
        return estimate(
            values, table["victim"], table["image"], min_effect, config.n_resamples, config.level, self.seed
        )

    def _findings(
        self, estimates: Mapping[str, Estimate], details: Mapping[str, Mapping[str, Estimate]], min_effect: float
    ) -> dict[str, Finding]:
        return {
            name: Finding(adjusted, decide(adjusted, min_effect, self.config.level), details[name])
            for name, adjusted in holm_adjust(estimates).items()
        }


def _decide_unfaithfulness(finding: Finding, min_effect: float) -> Answer:
    has_advantage_on_x = finding.details["x"].low > min_effect
    return finding.verdict if has_advantage_on_x else "undecided"


def _decide_concealment(finding: Finding, min_effect: float) -> Answer:
    matched = not finding.details["AUC of confidence - 0.5"].low > min_effect
    able = finding.verdict == "yes" or finding.details["AUC of other_class - 0.5"].low > min_effect
    return negate(finding.verdict) if matched and able else "undecided"


def primary_findings(by_attack: Mapping[str, Findings]) -> Findings:
    """Each claim's finding under the attack that it is decided on."""
    return {
        name: {claim: by_attack[attack][name][claim] for claim, attack in DECIDED_ON.items()}
        for name in by_attack[ATTACK]
    }


def ranking(findings: Findings) -> list[str]:
    """Attribution methods from the most to the least robust, by the mean of their ranks in the three claims.

    The first rank in each: least dissimilarity beyond the controls, least loss of advantage, most AUC added to a
    detector. A method without an estimate is ranked last in that claim.
    """
    sign = {"instability": -1, "unfaithfulness": -1, "concealment": 1}

    def robustness(name: str, claim: str) -> float:
        effect = findings[name][claim].estimate.effect
        return sign[claim] * effect if effect == effect else float("-inf")  # NaN is not equal to itself

    def rank(name: str, claim: str) -> int:
        return sum(robustness(other, claim) > robustness(name, claim) for other in findings)

    return sorted(findings, key=lambda name: (sum(rank(name, claim) for claim in CLAIMS), name))
