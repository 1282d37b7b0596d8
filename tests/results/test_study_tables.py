"""The tables of the studies in the pages, by hand."""

from typing import Any

from cam_adv.results.study_tables import (
    change,
    claim,
    claims_table,
    concealment_table,
    detectors_table,
    known_answers_table,
    min_perturbation_table,
    perturbed_pixels_table,
    prevalence_table,
    share,
    trainings_table,
    true_positives_table,
)


def rate(middle: float) -> dict[str, float]:
    return {"rate": middle, "low": middle - 0.1, "high": middle + 0.1}


FALL = {"estimate": -0.15, "low": -0.36, "high": 0.046}


def rows(table: str) -> list[str]:
    return table.splitlines()[2:]


def test_change_is_in_points() -> None:
    assert change(FALL) == "−15.0 (−36.0 to +4.6)"


def test_concealment_has_a_row_for_each_attack() -> None:
    attacks: dict[str, Any] = {
        "a": {"cam": {"concealed": rate(0.5)}, "robust": {"concealed": rate(0.25)}},
        "b": {
            "cam": {"concealed": None, "abstained": rate(0.0)},
            "robust": {"concealed": None, "abstained": rate(0.99)},
        },
    }
    table = concealment_table({"attacks": attacks})
    assert table.splitlines()[0] == "| attack or control | cam | robust |"
    assert rows(table) == [
        "| a | 50% (40 to 60%) | 25% (15 to 35%) |",
        "| b | too few | too few; it abstains on 99% |",
    ]


def test_pictures_that_nobody_reads_leave_their_cells_empty() -> None:
    read = {"pictures": 8, "left_out": 2, "passing": rate(0.5), "fpr": [rate(0.2)]}
    nothing: dict[str, Any] = {"pictures": 0, "left_out": 10, "passing": None, "fpr": None}
    found = {
        "prevalences": [0.1],
        "clean": {"all": rate(0.1)},
        "pictures": {"a": {"all": read}, "b": {"all": nothing}},
    }
    assert rows(prevalence_table({"false_positives": found})) == [
        "| clean images |  | 10.0% (0.0 to 20.0%) |  |",
        "| a | 8 (2) | 50.0% (40.0 to 60.0%) | 20.0% (10.0 to 30.0%) |",
        "| b | 0 (10) |  |  |",
    ]


def test_true_positives_of_a_class() -> None:
    attacks = {"pgd": {"after": rate(0.85), "change": FALL}}
    classes = {"3": {"clean": {"tpr": rate(0.9), "fpr": rate(0.1)}, "attacks": attacks}}
    assert rows(true_positives_table({"classes": classes})) == ["| 3 | 90.0%, 10.0% | 85.0%: −15.0 (−36.0 to +4.6) |"]


def test_training_is_named_once_and_changes_against_the_first() -> None:
    plain = {"accuracy": rate(0.9), "attacks": {"type1": {"success": rate(0.8), "clean_share": rate(0.7)}}}
    changed = {"success": rate(0.6), "change": FALL, "improves_robustness": "yes"}
    control = {"accuracy": rate(0.9), "attacks": {"type1": changed | {"does_nothing": "undecided"}}}
    withheld = changed | {"improves_robustness": "withheld", "reason": "control undecided"}
    other = {"accuracy": rate(0.9), "attacks": {"type1": changed, "pgd": changed | {"improves_robustness": "no"}}}
    other["attacks"]["fgsm"] = withheld
    of_control = "−15.0 (−36.0 to +4.6): control undecided"
    assert rows(trainings_table({"trainings": {"plain": plain, "control": control, "other": other}})) == [
        "| plain | 90.0% (80.0 to 100.0%) | type1 | 70.0% (60.0 to 80.0%) | 80.0% (70.0 to 90.0%) |  |",
        f"| control | 90.0% (80.0 to 100.0%) | type1 |  | 60.0% (50.0 to 70.0%) | {of_control} |",
        "| other | 90.0% (80.0 to 100.0%) | type1 |  | 60.0% (50.0 to 70.0%) | −15.0 (−36.0 to +4.6): helps |",
        "|  |  | pgd |  | 60.0% (50.0 to 70.0%) | −15.0 (−36.0 to +4.6): does not help |",
        "|  |  | fgsm |  | 60.0% (50.0 to 70.0%) | −15.0 (−36.0 to +4.6): withheld, control undecided |",
    ]


EFFECT = {"effect": -0.126, "low": -0.3, "high": 0.05}


def test_known_answers_say_what_must_be_and_what_is() -> None:
    answer = {"name": "random_weights", "claim": "unfaithfulness", "must": "no", "gives": "yes", "status": "wrong"}
    assert rows(known_answers_table({"meta_evaluation": {"answers": [answer | EFFECT]}})) == [
        "| random weights | H2 | no | yes | −0.13 (−0.30 to +0.05) | wrong |"
    ]


def test_claims_of_the_attack_and_of_a_further_one() -> None:
    def found(verdict: str) -> dict[str, Any]:
        return {claim: EFFECT | {"verdict": verdict} for claim in ("concealment", "instability", "unfaithfulness")}

    unmeasured = found("yes") | {"unfaithfulness": dict.fromkeys(EFFECT, float("nan")) | {"verdict": "undecided"}}
    values = {"attributions": {"cam": found("no")}, "arms": {"type1_cam": {"cam": unmeasured}}}
    assert claims_table(values).splitlines()[0] == (
        "| explanation | H1 instability | H2 unfaithfulness | H3 concealment |"
    )
    effect = "−0.13 (−0.30 to +0.05)"
    assert rows(claims_table(values)) == [f"| cam | no: {effect} | no: {effect} | no: {effect} |"]
    assert rows(claims_table(values, "type1_cam")) == [f"| cam | yes: {effect} | undecided: – | yes: {effect} |"]
    assert claim(values, "cam", "instability") == f"no, {effect}"
    assert claim(values, "cam", "concealment", "type1_cam") == f"yes, {effect}"
    values["attributions"]["cam"]["instability"]["verdict"] = "withheld"
    assert claim(values, "cam", "instability") == "withheld"


def test_share_is_in_whole_percent() -> None:
    assert share({"effect": 0.406, "low": 0.281, "high": 0.55}) == "41% (28 to 55%)"


def test_norms_stand_below_each_other() -> None:
    one = {"median_clever": 0.2984, "median_found": 1.5, "median_ratio": 5.026, "exceeds": rate(0.2)}
    one["poor_fit"] = rate(0.1)
    assert rows(min_perturbation_table(dict.fromkeys(("linf", "l1", "l2"), one))) == [
        f"| {norm} | 0.298 | 1.5 | 5.03 | 20.0% (10.0 to 30.0%) | 10.0% (0.0 to 20.0%) |"
        for norm in ("l1", "l2", "linf")
    ]


def test_detectors_and_pixels_have_a_column_for_each_detector_and_attack() -> None:
    auc = {"estimate": 0.904, "low": 0.86, "high": 0.93}
    comparison = {"positives": "type1", "negatives": "clean", "images": 9, "aucs": {"squeezing": auc, "error": auc}}
    assert detectors_table({"comparisons": [comparison]}).splitlines() == [
        "| positives against negatives (images) | squeezing | error |",
        "| --- | --- | --- |",
        "| type1 against clean (9) | 0.90 (0.86 to 0.93) | 0.90 (0.86 to 0.93) |",
    ]
    regions = dict.fromkeys(("true", "target", "others", "random"), auc)
    regions["target_minus_others"] = {"estimate": -0.034, "low": -0.05, "high": 0.01}
    table = perturbed_pixels_table({"pgd": regions | {"images": 8}}).splitlines()
    assert table[0] == "| inside | pgd (8) |"
    assert table[-1] == "| y' minus others | −0.03 (−0.05 to 0.01) |"
    of_two_classes = dict.fromkeys(("true", "target", "random"), auc) | {"images": 8}
    assert [row.split(" | ")[0] for row in rows(perturbed_pixels_table({"pgd": of_two_classes}))] == [
        "| the region of y",
        "| of y'",
        "| at a random position",
    ]
