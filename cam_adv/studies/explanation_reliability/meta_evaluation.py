"""Whether the study says what it must of explanations with a known answer; if not, all others are withheld."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from cam_adv.reports.console import console, new_table, print_table
from cam_adv.studies.explanation_reliability.claims import DECIDED_ON, TITLES, Findings
from cam_adv.studies.explanation_reliability.finding import MIN_CLUSTERS, NO_FINDING, Finding
from cam_adv.studies.explanation_reliability.known_attributions import EXPECTED, KNOWN, LADDER, RANDOM_WEIGHTS
from cam_adv.studies.explanation_reliability.report import finding_to_json

Status = Literal["right", "wrong", "too few images"]

SENTENCES: dict[Status, str] = {
    "right": "Every explanation with a known answer came out as it must.",
    "wrong": "An explanation with a known answer came out wrong, so the verdicts on all others are withheld.",
    "too few images": "There are too few images to decide explanations with a known answer, so the verdicts on all "
    "others are withheld.",
}


@dataclass(frozen=True)
class KnownAnswer:
    """What the study must say of one explanation about one claim, and what it says."""

    name: str
    claim: str
    must: str
    gives: str
    status: Status
    finding: Finding


def check_known_answers(by_attack: Mapping[str, Findings], ladder: Sequence[Finding]) -> list[KnownAnswer]:
    """Compare the findings on explanations with a known answer to what they must be.

    Args:
        by_attack: attack → findings on the explanations of `EXPECTED`, as far as measured.
        ladder: the findings of instability on `LADDER`, from no noise to noise alone.
    """
    answers = []
    for name, expected in EXPECTED.items():
        for claim, must in expected.items():
            found = by_attack[DECIDED_ON[claim]].get(name, {}).get(claim, NO_FINDING)
            if name == RANDOM_WEIGHTS and found is NO_FINDING:
                continue  # a victim that comes trained has no other weights
            gives = found.verdict
            status: Status = "right" if gives == must else "too few images" if gives == "undecided" else "wrong"
            answers.append(KnownAnswer(name.removeprefix(KNOWN), claim, must, gives, status, found))
    return [*answers, _ladder_answer(ladder)]


def overall(answers: Sequence[KnownAnswer]) -> Status:
    """The worst of all."""
    given = {answer.status for answer in answers}
    return "wrong" if "wrong" in given else "too few images" if "too few images" in given else "right"


def known_answers_to_json(answers: Sequence[KnownAnswer]) -> dict[str, Any]:
    """The overall result with its sentence, and each answer with its finding."""
    result = overall(answers)
    rows = [
        {key: value for key, value in vars(one).items() if key != "finding"} | finding_to_json(one.claim, one.finding)
        for one in answers
    ]
    return {"result": result, "sentence": SENTENCES[result], "answers": rows}


def print_known_answers(answers: Sequence[KnownAnswer]) -> None:
    """A line for each answer, and the sentence."""
    table = new_table("explanations with a known answer", compact=True)
    for heading in ("explanation", "claim", "must give", "gives", "effect", "n", ""):
        table.add_column(heading)
    for one in answers:
        found, claim = one.finding.estimate, TITLES[one.claim].split()[0]
        effect = "" if math.isnan(found.effect) else f"{found.effect:+.2f}"
        table.add_row(one.name, claim, one.must, one.gives, effect, str(found.clusters), one.status)
    print_table(table)
    console().print(SENTENCES[overall(answers)])


def _ladder_answer(ladder: Sequence[Finding]) -> KnownAnswer:
    effects = [finding.estimate.effect for finding in ladder]
    clusters = min((finding.estimate.clusters for finding in ladder), default=0)
    ascend = all(before < after for before, after in pairwise(effects))  # not with a NaN
    status: Status = "too few images" if clusters < MIN_CLUSTERS else "right" if ascend else "wrong"
    name = f"noise of {', '.join(f'{share:.0%}' for share in LADDER.values())}"
    gives = ", ".join(f"{effect:+.2f}" for effect in effects if not math.isnan(effect)) or "undecided"
    return KnownAnswer(name, "instability", "effects ascend", gives, status, ladder[-1] if ladder else NO_FINDING)
