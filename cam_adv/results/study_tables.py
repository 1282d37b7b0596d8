"""Tables of the studies' results, for the pages."""

from collections.abc import Mapping
from typing import Any

from cam_adv.benchmark.tables import table
from cam_adv.results.filters import percent, rate

Json = Mapping[str, Any]

HELPS = {"yes": "helps", "no": "does not help", "undecided": "undecided"}


def concealment_table(values: Json) -> str:
    """How often each attack stays concealed from each explanation, from `robust_explanation.json`."""
    attacks = values["attacks"]
    names = list(next(iter(attacks.values())))
    rows = [[name, *(_whole(one[key]["concealed"]) for key in names)] for name, one in attacks.items()]
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
            changed = f"{change(found['change'])}: {HELPS[found['improves_robustness']]}" if "change" in found else ""
            rows.append([*begin, measure, share, rate(found["success"]), changed])
    return table(
        ["training", "accuracy", "attack", "clean images that reach the confidence", "success", "change"], rows
    )


def change(estimate: Json) -> str:
    """`−15.0 (−36.0 to −4.6)`, in points."""
    middle, low, high = (f"{100 * estimate[key]:+.1f}".replace("-", "−") for key in ("estimate", "low", "high"))
    return f"{middle} ({low} to {high})"


def _whole(one: Json) -> str:
    return f"{one['rate']:.0%} ({one['low'] * 100:.0f} to {one['high']:.0%})"


FILTERS = {
    function.__name__: function
    for function in (concealment_table, prevalence_table, true_positives_table, trainings_table, change)
}
