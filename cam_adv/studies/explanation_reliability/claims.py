"""The three claims about each attribution method, from measured rows to verdicts.

Instability (H1) and unfaithfulness (H2) are decided on an attack as configured, concealment (H3) on its
high-confidence variant: an attack that stops at a lower confidence leaves few clean images of equal confidence to be
matched with. H1 and H3 are measured for both.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from cam_adv.metrics.answers import negate
from cam_adv.runtime.progress import track
from cam_adv.studies.explanation_reliability.attack_pairs import ADVERSARIAL
from cam_adv.studies.explanation_reliability.concealment import EVADES, permutation_test
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig
from cam_adv.studies.explanation_reliability.finding import (
    MIN_CLUSTERS,
    NOTHING_TO_LOSE,
    WITHHELD,
    Estimate,
    Estimator,
    Finding,
    all_exceed,
    any_exceeds,
    decide,
    holm_adjust,
)
from cam_adv.studies.explanation_reliability.measurements import (
    ADVANTAGE,
    DISSIMILARITY,
    INK,
    KEEPS,
    MEAN_MAP,
    Measurements,
    Table,
)

MAIN = "attack"
"""Name of the arm whose attack is the one of the config."""

ATTACK, HIGH_CONFIDENCE = "attack", "high_confidence_attack"
DECIDED_ON = {"instability": ATTACK, "unfaithfulness": ATTACK, "concealment": HIGH_CONFIDENCE}
CLAIMS = tuple(DECIDED_ON)
RECONSTRUCTED = "reconstructed "
"""Prefix of the details of H3 against reconstructions."""

TITLES = {"instability": "H1 instability", "unfaithfulness": "H2 unfaithfulness", "concealment": "H3 concealment"}
RULES = {
    "instability": "yes: by more than min_effect.instability the map changes more under the attack than under every "
    "matched control that the victim calls y; no: under one of them by less than that",
    "unfaithfulness": "asked where on x the map exceeds both its mean map and the ink by min_effect.unfaithfulness; "
    "yes: by more than that the map ranks pixels worse under the attack than under every matched control; no: by "
    "less than that than under one of them",
    "concealment": "yes: among clean images the map adds less than min_effect.concealment to the AUC of a detector "
    "on the victim's confidence, and less than min_effect.passing to the share of attacked maps that it catches at "
    "target_fpr; no: either is more; the same among reconstructions of clean images, a verdict of its own",
    "every claim": "p below 1 − level after Holm's correction over both directions and all attribution methods of an "
    "attack; victims and images are drawn at random",
}
Details = dict[str, Estimate]
Findings = dict[str, dict[str, Finding]]
"""Attribution method → claim → finding."""


class Claims:
    """Tests of the three claims under one configuration."""

    def __init__(self, config: ReliabilityConfig) -> None:
        self.config = config
        self.estimator = Estimator(config.level)

    def instability(self, tables: Mapping[str, Table]) -> dict[str, Finding]:
        """H1: dissimilarity under the attack minus that under the matched control with the largest one.

        A matched control counts where the victim calls it y. The details hold the dissimilarity under the attack, its
        difference from every control and from the sanity-check models, and the shares of controls that keep y.
        """
        min_effect = self.config.min_effect.instability
        estimates, details = {}, {}
        for name, rows in track(list(tables.items()), "H1 instability", "explanations"):
            attack = rows[DISSIMILARITY + ADVERSARIAL]
            differences = {
                f"attack - {column.removeprefix(DISSIMILARITY)}": self._mean(rows, attack - values, min_effect)
                for column, values in rows.items()
                if column.startswith(DISSIMILARITY) and column != DISSIMILARITY + ADVERSARIAL
            }
            shares = {
                column: self.estimator.share(rows, values, 1 / 2)
                for column, values in rows.items()
                if column.startswith(KEEPS)
            }
            estimates[name] = all_exceed({key: differences[f"attack - {key}"] for key in self.config.matched})
            details[name] = {"attack": self._mean(rows, attack, min_effect)} | differences | shares
        return self._findings(estimates, details)

    def unfaithfulness(self, tables: Mapping[str, Table]) -> dict[str, Finding]:
        """H2: loss of the advantage over a random ranking, under the attack minus under the matched controls.

        Both are losses from x, so that the difference is the advantage under the control minus that under the attack;
        the smallest one counts. A map whose advantage on x does not exceed, by the smallest effect that counts, those
        of its mean map for all images and of the image's intensity (ink) has nothing to lose. The details hold these
        two excesses, and every advantage.
        """
        min_effect = self.config.min_effect.unfaithfulness
        estimates, details, excesses = {}, {}, {}
        for name, rows in track(list(tables.items()), "H2 unfaithfulness", "explanations"):
            advantage = {
                column.removeprefix(ADVANTAGE): values
                for column, values in rows.items()
                if column.startswith(ADVANTAGE)
            }
            estimates[name] = all_exceed(
                {
                    control: self._mean(rows, advantage[control] - advantage[ADVERSARIAL], min_effect)
                    for control in self.config.matched
                }
            )
            excesses[name] = {
                f"x - {key}": self._mean(rows, advantage["x"] - advantage[key], min_effect) for key in (MEAN_MAP, INK)
            }
            details[name] = excesses[name] | {
                key: self._mean(rows, values, min_effect) for key, values in advantage.items()
            }
        findings = self._findings(estimates, details)
        return {name: self._with_precondition(finding, excesses[name]) for name, finding in findings.items()}

    def concealment(self, tables: Mapping[str, tuple[Table, Table]]) -> dict[str, Finding]:
        """H3, the absence of two effects: AUC and caught attacked maps that the map adds to confidence.

        Undecided where confidence alone separates the pairs, which are then not matched. The details hold all AUCs
        minus ½, `other_class` for real images of class y', and the shares of maps that evade the detector and the
        reader's rule; of a map that can't be told apart 1 − `target_fpr` do. The verdict is on clean images; beside
        it stands the one on their reconstructions, with the details that have the prefix `reconstructed `: a map
        that reveals the attack among clean images alone may reveal the generator.

        Args:
            tables: matches among clean images, and among their reconstructions.
        """
        clean, reconstructed = (
            {name: self._revealed(of[place]) for name, of in track(list(tables.items()), title, "explanations")}
            for place, title in enumerate(("H3 concealment", "H3 among reconstructions"))
        )
        findings, others = (
            {name: _concealed(finding, self.config.level) for name, finding in self._findings(*_unzip(found)).items()}
            for found in (clean, reconstructed)
        )
        return {
            name: replace(
                finding,
                details={**finding.details, **_prefixed(others[name].details)},
                among_reconstructions=others[name].verdict,
            )
            for name, finding in findings.items()
        }

    def _revealed(self, pairs: Table) -> tuple[Estimate, Details]:
        """Whether the map reveals the attack against one kind of unattacked images, and the details."""
        min_effect = self.config.min_effect
        added = self._mean(pairs, pairs["both"] - pairs["confidence"], min_effect.concealment)
        if added.clusters >= MIN_CLUSTERS:
            p_above, p_below = permutation_test(pairs, min_effect.concealment)
            added = replace(added, p_above=max(added.p_above, p_above), p_below=max(added.p_below, p_below))
        caught = self._mean(pairs, pairs["evades_confidence"] - pairs["evades_both"], min_effect.passing)
        details = {
            f"AUC of {column} - 0.5": self._mean(pairs, pairs[column] - 0.5, min_effect.concealment)
            for column in ("map", "confidence", "both", "other_class")
            if column in pairs
        }
        details["caught beyond confidence"] = caught
        details |= {name: self.estimator.share(pairs, pairs[name], 1 - self.config.target_fpr) for name in EVADES}
        return any_exceeds(added, caught), details

    def decide(self, measured: Mapping[str, Measurements]) -> Findings:
        """The findings on each attribution method, about the claims that it was measured for."""
        rows = {name: of.rows for name, of in measured.items()}
        found = {
            "instability": self.instability(_with_column(rows, DISSIMILARITY + ADVERSARIAL)),
            "unfaithfulness": self.unfaithfulness(_with_column(rows, ADVANTAGE + ADVERSARIAL)),
            "concealment": self.concealment(
                {name: (of.pairs, of.reconstructed_pairs) for name, of in measured.items() if of.pairs}
            ),
        }
        return {name: {claim: of[name] for claim, of in found.items() if name in of} for name in measured}

    def _mean(self, table: Table, values: Tensor, min_effect: float) -> Estimate:
        return self.estimator.mean(table, values, min_effect)

    def _with_precondition(self, finding: Finding, excesses: Mapping[str, Estimate]) -> Finding:
        excess = all_exceed(excesses)
        if excess.clusters < MIN_CLUSTERS or decide(excess, self.config.level) == "yes":
            return finding
        return replace(finding, verdict=NOTHING_TO_LOSE)

    def _findings(
        self, estimates: Mapping[str, Estimate], details: Mapping[str, Mapping[str, Estimate]]
    ) -> dict[str, Finding]:
        return {
            name: Finding(adjusted, decide(adjusted, self.config.level), details[name])
            for name, adjusted in holm_adjust(estimates).items()
        }


def _with_column(tables: Mapping[str, Table], column: str) -> dict[str, Table]:
    return {name: table for name, table in tables.items() if column in table}


def _unzip(found: Mapping[str, tuple[Estimate, Details]]) -> tuple[dict[str, Estimate], dict[str, Details]]:
    return {name: one[0] for name, one in found.items()}, {name: one[1] for name, one in found.items()}


def _prefixed(details: Mapping[str, Estimate]) -> Details:
    return {RECONSTRUCTED + key: one for key, one in details.items()}


def _concealed(finding: Finding, level: float) -> Finding:
    matched = decide(finding.details["AUC of confidence - 0.5"], level) != "yes"
    reveals = decide(finding.estimate, level)
    return replace(finding, verdict=negate(reveals) if matched else "undecided")


def withhold(findings: Findings) -> Findings:
    """The same estimates without a verdict."""

    def without(finding: Finding) -> Finding:
        among = None if finding.among_reconstructions is None else WITHHELD
        return replace(finding, verdict=WITHHELD, among_reconstructions=among)

    return {
        name: {claim: without(finding) for claim, finding in by_claim.items()} for name, by_claim in findings.items()
    }


def primary_findings(by_attack: Mapping[str, Findings]) -> Findings:
    """Each claim's finding under the attack that it is decided on."""
    return {
        name: {claim: by_attack[attack][name][claim] for claim, attack in DECIDED_ON.items()}
        for name in by_attack[ATTACK]
    }


def ranking(findings: Findings) -> list[str]:
    """Attribution methods from the most to the least robust, by the mean of their ranks in the three claims.

    The first rank in each: least dissimilarity beyond the controls, least loss of advantage beyond them, most AUC
    added to a detector. A method without an estimate is ranked last in that claim.
    """
    sign = {"instability": -1, "unfaithfulness": -1, "concealment": 1}

    def robustness(name: str, claim: str) -> float:
        effect = findings[name][claim].estimate.effect
        return sign[claim] * effect if effect == effect else float("-inf")  # NaN is not equal to itself

    def rank(name: str, claim: str) -> int:
        return sum(robustness(other, claim) > robustness(name, claim) for other in findings)

    return sorted(findings, key=lambda name: (sum(rank(name, claim) for claim in CLAIMS), name))
