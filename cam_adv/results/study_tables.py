"""Tables of the studies' results, for the pages."""

import math
from collections.abc import Mapping
from typing import Any

from cam_adv.benchmark.tables import table
from cam_adv.results.filters import UNKNOWN, percent, rate

Json = Mapping[str, Any]

CLAIMS = {"instability": "H1", "unfaithfulness": "H2", "concealment": "H3"}
HELPS = {"yes": "helps", "no": "does not help", "undecided": "undecided"}
WITHHELD = "withheld"
CONTROL = {"yes": "does nothing", "no": "control failed", "undecided": "control undecided"}


def concealment_table(values: Json) -> str:
    """How often each attack stays concealed from each explanation, from `robust_explanation.json`."""
    attacks = values["attacks"]
    names = list(next(iter(attacks.values())))
    rows = [[name, *(_concealed(one[key]) for key in names)] for name, one in attacks.items()]
    return table(["attack or control", *names], rows)


def prevalence_table(values: Json) -> str:
    """False positive rates where a share of the negatives is attacked, from `attack_comparison.json`."""
    found = values["false_positives"]
    header = ["pictures", "the judge reads y' (left out)", "of these pass as y"]
    header += [f"false positives at {share:.0%}" for share in found["prevalences"]]
    rows = [["clean images", "", rate(found["clean"]["all"]), *("" for _ in found["prevalences"])]]
    for name, pictures in found["pictures"].items():
        one = pictures["all"]
        count = f"{one['pictures']} ({one['left_out']})"
        mixed = [""] * len(found["prevalences"]) if one["fpr"] is None else [rate(fpr) for fpr in one["fpr"]]
        rows.append([name, count, "" if one["passing"] is None else rate(one["passing"]), *mixed])
    return table(header, rows)


def true_positives_table(values: Json) -> str:
    """How Type II attacks change each class's true positive rate, from `attack_comparison.json`."""
    classes = values["classes"]
    names = list(next(iter(classes.values()))["attacks"])
    rows = []
    for name, one in classes.items():
        clean = f"{percent(one['clean']['tpr']['rate'])}, {percent(one['clean']['fpr']['rate'])}"
        changes = [
            f"{percent(attack['after']['rate'])}: {change(attack['change'])}" for attack in one["attacks"].values()
        ]
        rows.append([name, clean, *changes])
    return table(["is it a …?", "clean TPR, FPR", *(f"TPR under `{name}`" for name in names)], rows)


def trainings_table(values: Json) -> str:
    """Each training's accuracy and what it changes, from `adversarial_training.json`."""
    rows = []
    for training, one in values["trainings"].items():
        for number, (measure, found) in enumerate(one["attacks"].items()):
            begin = ["", ""] if number else [training, rate(one["accuracy"])]
            share = rate(found["clean_share"]) if "clean_share" in found else ""
            changed = f"{change(found['change'])}: {_training_verdict(found)}" if "change" in found else ""
            rows.append([*begin, measure, share, rate(found["success"]), changed])
    return table(
        ["training", "accuracy", "attack", "clean images that reach the confidence", "success", "change"], rows
    )


def known_answers_table(values: Json) -> str:
    """What the study of explanations must say of explanations with a known answer, and says."""
    rows = [
        [
            one["name"].replace("_", " "),
            CLAIMS[one["claim"]],
            one["must"],
            _minus(one["gives"]),
            _effect(one),
            one["status"],
        ]
        for one in values["meta_evaluation"]["answers"]
    ]
    return table(["explanation", "claim", "must give", "gives", "effect", ""], rows)


def claims_table(values: Json, arm: str | None = None) -> str:
    """Verdict and effect of each claim about each explanation, from `explanation_reliability.json`.

    Args:
        arm: a further attack's name; by default the attack of the config.
    """
    findings = values["attributions"] if arm is None else values["arms"][arm]
    rows = [
        [name, *(f"{one['verdict']}: {_effect(one)}" for one in (found[claimed] for claimed in CLAIMS))]
        for name, found in findings.items()
    ]
    return table(["explanation", *(f"{number} {claimed}" for claimed, number in CLAIMS.items())], rows)


def claim(values: Json, name: str, claimed: str, arm: str | None = None) -> str:
    """One verdict of `claims_table` with its effect."""
    found = (values["attributions"] if arm is None else values["arms"][arm])[name][claimed]
    return found["verdict"] if found["verdict"] == WITHHELD else f"{found['verdict']}, {_effect(found)}"


def share(estimate: Json) -> str:
    """`41% (28 to 55%)`, of an estimate of the study of explanations."""
    return f"{estimate['effect']:.0%} ({estimate['low'] * 100:.0f} to {estimate['high']:.0%})"


def min_perturbation_table(values: Json) -> str:
    """How small a perturbation fools the victim in each norm, from `min_perturbation.json`."""
    rows = []
    for norm, one in ((norm, values[norm]) for norm in ("l1", "l2", "linf")):
        medians = [f"{one[key]:.3g}" for key in ("median_clever", "median_found", "median_ratio")]
        rows.append([norm, *medians, rate(one["exceeds"]), rate(one["poor_fit"])])
    return table(
        ["norm", "CLEVER, median", "found, median", "ratio", "CLEVER exceeds what was found", "poor fits"], rows
    )


def detectors_table(values: Json) -> str:
    """AUC of each detector for each attack, from `detectors.json`."""
    names = list(values["comparisons"][0]["aucs"])
    rows = [
        [f"{one['positives']} against {one['negatives']} ({one['images']})"]
        + [_interval(one["aucs"][name]) for name in names]
        for one in values["comparisons"]
    ]
    return table(["positives against negatives (images)", *names], rows)


def perturbed_pixels_table(values: Json) -> str:
    """The share of each attack's perturbation in the regions of the CAMs on x, from `perturbed_pixels.json`."""
    regions = {
        "the region of y": "true",
        "of y'": "target",
        "of other classes, mean": "others",
        "at a random position": "random",
        "y' minus others": "target_minus_others",
    }
    rows = [
        [text, *(_interval(one[key]) for one in values.values())]
        for text, key in regions.items()
        if all(key in one for one in values.values())  # with two classes there are no others
    ]
    return table(["inside", *(f"{name} ({one['images']})" for name, one in values.items())], rows)


def change(estimate: Json) -> str:
    """`−15.0 (−36.0 to −4.6)`, in points."""
    middle, low, high = (_minus(f"{100 * estimate[key]:+.1f}") for key in ("estimate", "low", "high"))
    return f"{middle} ({low} to {high})"


def _training_verdict(found: Json) -> str:
    """Whether a training helps, or why the verdict is withheld; of the control, whether it does nothing."""
    if "does_nothing" in found:
        return CONTROL[found["does_nothing"]]
    verdict: str = found["improves_robustness"]
    return f"withheld, {found['reason']}" if verdict == "withheld" else HELPS[verdict]


def _concealed(one: Json) -> str:
    if one["concealed"] is not None:
        return _whole(one["concealed"])
    return f"too few; it abstains on {one['abstained']['rate']:.0%}" if one["abstained"]["rate"] else "too few"


def _whole(one: Json) -> str:
    return f"{one['rate']:.0%} ({one['low'] * 100:.0f} to {one['high']:.0%})"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _effect(one: Json) -> str:
    """`+0.12 (−0.03 to +0.27)`; a dash where nothing was measured."""
    if one["effect"] is None or math.isnan(one["effect"]):
        return UNKNOWN
    middle, low, high = (_minus(f"{one[key]:+.2f}") for key in ("effect", "low", "high"))
    return f"{middle} ({low} to {high})"


def _interval(estimate: Json) -> str:
    middle, low, high = (_minus(f"{estimate[key]:.2f}") for key in ("estimate", "low", "high"))
    return f"{middle} ({low} to {high})"


FILTERS = {
    function.__name__: function
    for function in (
        concealment_table,
        prevalence_table,
        true_positives_table,
        trainings_table,
        known_answers_table,
        claims_table,
        claim,
        share,
        min_perturbation_table,
        detectors_table,
        perturbed_pixels_table,
        change,
    )
}
