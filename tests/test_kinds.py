"""Both kinds of attack side by side: rates, areas and intervals by hand, and a tiny study to its files."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Answer, Study, called, compose
from safetensors.torch import load_file
from sklearn import metrics
from torch import Tensor
from torch.nn import functional

from cam_adv.attack.selection import of_every_class
from cam_adv.config import settings_from
from cam_adv.errors import UserError
from cam_adv.evaluation.intervals import newcombe, wilson
from cam_adv.evaluation.roc import Sample, area_interval, area_under_roc, roc_curve, threshold_for
from cam_adv.kinds.movement import Attacked, ClassCurves, class_curves
from cam_adv.kinds.scores import Scores, log_odds
from cam_adv.reliability.detector import auc_parts
from cam_adv.report.roc import sentences
from cam_adv.settings import KindsSettings


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rounded(count: int, shift: float, seed: int) -> Tensor:
    """Normal scores with ties."""
    return ((torch.randn(count, generator=seeded(seed), dtype=torch.float64) + shift) * 4).round() / 4


# Curve, area, threshold


def test_curve_and_area_by_hand() -> None:
    """Of six pairs three are in order, one side of two of the others is level: (4 + 2/2) / 6."""
    positives, negatives = torch.tensor([3.0, 2.0, 2.0]), torch.tensor([2.0, 1.0])
    false, true = roc_curve(positives, negatives)
    assert false.tolist() == [0, 0, 0.5, 1]
    assert true.tolist() == pytest.approx([0, 1 / 3, 1, 1])
    assert area_under_roc(positives, negatives) == pytest.approx(5 / 6)


def test_curve_and_area_are_sklearns() -> None:
    positives, negatives = rounded(70, 0.8, seed=1), rounded(50, 0, seed=2)
    scores, truth = torch.cat([positives, negatives]), np.repeat([1, 0], [70, 50])
    area = area_under_roc(positives, negatives)
    assert area == pytest.approx(metrics.roc_auc_score(truth, scores))
    false, true = roc_curve(positives, negatives)
    assert torch.trapezoid(true, false).item() == pytest.approx(area)
    theirs = metrics.roc_curve(truth, scores, drop_intermediate=False)[:2]
    points = {(round(x, 9), round(y, 9)) for x, y in zip(*theirs, strict=True)}
    assert {(round(x, 9), round(y, 9)) for x, y in zip(false.tolist(), true.tolist(), strict=True)} <= points


def test_area_knows_the_order_of_scores_alone() -> None:
    positives, negatives = rounded(40, 0.5, seed=3), rounded(30, 0, seed=4)
    area = area_under_roc(positives, negatives)
    assert area_under_roc(positives.exp(), negatives.exp()) == pytest.approx(area, abs=1e-12)
    assert area_under_roc(negatives, positives) == pytest.approx(1 - area, abs=1e-12)
    assert area_under_roc(-negatives, -positives) == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "share", "threshold"),
    [
        ([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0.2, 7),  # 8 and 9 lie above
        ([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0.29, 7),  # a third would be too many
        ([0.0, 1, 2, 3, 4, 5, 6, 7, 7, 7], 0.2, 7),  # none lies above: two of three that are level can't
        ([0.0, 1, 2], 0.01, 2),
    ],
)
def test_threshold_by_hand(scores: list[float], share: float, threshold: float) -> None:
    assert threshold_for(torch.tensor(scores), share) == threshold


def test_threshold_lets_the_share_pass_that_was_asked() -> None:
    """Also 0.29·100, which is a little less than 29 in floating point."""
    scores = torch.randperm(100, generator=seeded()).double()
    for percent in range(1, 100):
        assert int((scores > threshold_for(scores, percent / 100)).sum()) == percent


# Intervals


@pytest.mark.parametrize(
    ("after", "before", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_is_as_published(after: tuple[int, int], before: tuple[int, int], low: float, high: float) -> None:
    """Newcombe 1998, table II, method 10."""
    interval = newcombe(wilson(*after), wilson(*before))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)
    assert interval.estimate == pytest.approx(after[0] / after[1] - before[0] / before[1])


def test_wilson_at_other_levels() -> None:
    """By the equation it solves: |share − p| = z·sqrt(p(1 − p)/n) at both ends."""
    rate = wilson(7, 20, level=0.99)
    for end in (rate.low, rate.high):
        assert abs(0.35 - end) == pytest.approx(2.5758293 * math.sqrt(end * (1 - end) / 20), abs=1e-7)


def test_area_interval_is_as_wide_as_delongs() -> None:
    """Of two independent samples; and of pictures that share their images, whose influences add up in pairs."""
    first, second = rounded(250, 0.7, seed=5), rounded(250, 0, seed=6)
    positives, alone = Sample(first, torch.arange(250)), Sample(second, torch.arange(250, 500))
    above = (first[:, None] > second).double() + (first[:, None] == second).double() / 2
    delong = (above.mean(dim=1).var() / 250 + above.mean(dim=0).var() / 250).sqrt().item()
    found = area_interval(positives, alone, 2000, 0.95, seeded())
    assert found.estimate == pytest.approx(above.mean().item())
    assert found.high - found.low == pytest.approx(2 * 1.96 * delong, rel=0.08)

    second = first - rounded(250, 0.3, seed=7)
    shared = area_interval(positives, Sample(second, torch.arange(250)), 2000, 0.95, seeded())
    paired = auc_parts(first, second).std().item() / math.sqrt(250)
    assert shared.high - shared.low == pytest.approx(2 * 1.96 * paired, rel=0.08)
    apart = area_interval(positives, Sample(second, torch.arange(250, 500)), 2000, 0.95, seeded())
    assert apart.high - apart.low > 1.3 * (shared.high - shared.low)


def test_area_interval_of_scores_that_do_not_overlap_is_that_of_disjoint_pairs() -> None:
    above = Sample(torch.tensor([5.0, 6, 7]), torch.arange(3))
    below = Sample(torch.tensor([1.0, 2, 3, 4]), torch.arange(3, 7))
    assert vars(area_interval(above, below, 200, 0.95, seeded())) == {
        "estimate": 1.0,
        "low": wilson(3, 3).low,
        "high": 1.0,
    }
    assert area_interval(below, above, 200, 0.95, seeded()).high == pytest.approx(wilson(0, 3).high)


# What is attacked, and what moves


def test_every_class_gives_as_many_images() -> None:
    labels = torch.arange(60) % 4
    eligible = torch.arange(60) % 5 > 0
    chosen = of_every_class(labels, eligible, 4, 9, seed=1)
    assert labels[chosen.index].bincount().tolist() == [9] * 4
    assert eligible[chosen.index].all()
    assert torch.equal(chosen.y, labels[chosen.index])
    assert len(chosen.index.unique()) == 36
    assert (chosen.target != chosen.y).all()
    assert set(chosen.target.tolist()) == {0, 1, 2, 3}
    again, other = (of_every_class(labels, eligible, 4, 9, seed=seed) for seed in (1, 2))
    assert torch.equal(again.index, chosen.index)
    assert torch.equal(again.target, chosen.target)
    assert not torch.equal(other.index, chosen.index)
    with pytest.raises(UserError, match=r"kinds\.images=13 of each class, but only 12 test images of class 0"):
        of_every_class(labels, eligible, 4, 13, seed=1)


def test_log_odds_keep_apart_what_probabilities_round_to_one() -> None:
    logits = torch.tensor([[60.0, 0.0], [90.0, 0.0], [1.0, -1.0]])
    torch.testing.assert_close(log_odds(logits)[:, 0], torch.tensor([60.0, 90.0, 2.0], dtype=torch.float64))
    several = torch.randn(20, 5, generator=seeded(), dtype=torch.float64)
    probs = several.softmax(dim=1)
    torch.testing.assert_close(log_odds(several), (probs / (1 - probs)).log())


@pytest.fixture(scope="module")
def plan() -> KindsSettings:
    """As shipped, with a tenth of false alarms and one attack of each kind."""
    changed = ["kinds.false_alarms=0.1", "kinds.resamples=200", "~kinds.attacks.pgd"]
    return settings_from(compose(["experiment=roc", *changed])).kinds


@pytest.fixture(scope="module")
def moved(plan: KindsSettings) -> list[ClassCurves]:
    """Two classes, of which scores are each other's negative. Validation: negatives of class 0 score −9, …, 0."""
    validation = torch.cat([torch.arange(-9.0, 1), torch.full((10,), 50.0)])
    test = torch.tensor([5.0, 4, 3, -2, -6, -1, 1, -8])
    attacked = {"type2": [-3.0, 2, 4, -9, 9, 9], "type1": [3.0, -4, 5, 9, 9, 9]}

    def both(scores: Tensor) -> Tensor:
        return torch.stack([scores, -scores], dim=1).double()

    scores = Scores(both(validation), both(test), {name: both(torch.tensor(of)) for name, of in attacked.items()})
    index, y = torch.tensor([0, 1, 2, 2, 4, 5]), torch.tensor([0, 0, 0, 0, 1, 1])
    attacks = {
        "type2": Attacked("type2", index, y, judged=torch.tensor([0, 0, 0, 1, 0, 0])),
        "type1": Attacked("type1", index, y, judged=torch.tensor([1, 1, 0, 0, 0, 0])),
    }
    labels = torch.tensor([1] * 10 + [0] * 10), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    return class_curves(scores, *labels, attacks, plan, seed=0)


def test_movements_by_hand(moved: list[ClassCurves]) -> None:
    """One of ten negatives lies above −1: that is the threshold of class 0, which a score of −1 does not pass."""
    of_class = moved[0]
    assert (of_class.clean.positives, of_class.clean.negatives, of_class.clean.threshold) == (4, 4, -1)
    assert (of_class.clean.tpr, of_class.clean.fpr) == (wilson(3, 4), wilson(1, 4))
    assert of_class.clean.auc.estimate == 14 / 16  # −2 is below −1 and 1
    type2, type1 = of_class.movements["type2"], of_class.movements["type1"]
    assert (type2.pictures, type2.left_out, type2.before, type2.after) == (3, 1, wilson(3, 4), wilson(2, 3))
    assert type2.change == newcombe(wilson(2, 3), wilson(3, 4))
    assert type2.sources == wilson(3, 3)
    assert type2.auc.estimate == pytest.approx(10 / 12)  # −3 is below −1 and 1
    assert (type1.pictures, type1.left_out, type1.before, type1.after) == (2, 2, wilson(1, 4), wilson(1, 2))
    assert type1.change == newcombe(wilson(1, 2), wilson(1, 4))
    assert type1.sources is None
    assert type1.auc.estimate == 6.5 / 8  # 3 is level with one positive and above another
    level = 1 - 0.05 / 4  # two classes, two attacks
    assert type1.together == newcombe(wilson(1, 2, level), wilson(1, 4, level))


def test_a_class_without_pictures_has_no_movement(moved: list[ClassCurves], plan: KindsSettings) -> None:
    """The judge takes what was made of class 1 for class 0, in both attacks."""
    type2 = moved[1].movements["type2"]
    assert (type2.pictures, type2.left_out, type2.after, type2.change, type2.auc) == (0, 2, None, None, None)
    assert moved[1].movements["type1"].pictures == 2
    each, together = sentences(moved, ["a", "b"], plan)
    assert each.startswith(
        "At 95% for each interval, the interval does not exclude zero for a, b (no picture left) under type2"
    )
    assert "all 4 of them together (Bonferroni)" in together


def test_the_sentence_says_when_there_is_none(moved: list[ClassCurves], plan: KindsSettings) -> None:
    clear = moved[0].movements["type1"]
    clear = type(clear)(**vars(clear) | {"change": newcombe(wilson(9, 9), wilson(0, 9))})
    one = [ClassCurves(moved[0].clean, {"type1": clear})]
    assert "there is no class whose interval does not exclude zero" in sentences(one, ["a"], plan)[0]


# The config


@pytest.mark.parametrize("override", ["attack@kinds.attacks.pgd=fgsm", "kinds.attacks.pgd.strength=0.1"])
def test_attacks_are_placed_and_changed(override: str) -> None:
    kinds = settings_from(compose(["experiment=roc", override])).kinds
    assert list(kinds.attacks) == ["type1", "type2_latent", "pgd"]
    assert (kinds.attacks["pgd"].name, kinds.attacks["pgd"].strength) in [("fgsm", 0.1), ("pgd_l2", 0.1)]


@pytest.mark.parametrize("dropped", ["~kinds.attacks.pgd", "~attack@kinds.attacks.pgd"])
def test_attacks_are_dropped(dropped: str) -> None:
    assert list(settings_from(compose(["experiment=roc", dropped])).kinds.attacks) == ["type1", "type2_latent"]


def test_a_placed_attack_reads_its_own_confidence() -> None:
    settings = settings_from(compose(["experiment=roc", "kinds.attacks.type1.confidence=0.7"]))
    attacks = {"of the stage": settings.attack, **settings.kinds.attacks}
    confidences = {name: one.multiplier["confidence"] for name, one in attacks.items() if name != "pgd"}
    assert confidences == {"of the stage": 0.9, "type1": 0.7, "type2_latent": 0.5}


@pytest.mark.parametrize(
    ("overrides", "what", "remedy"),
    [
        (["~kinds.attacks.type1"], "no attack of type1", "+attack@kinds.attacks.another=type1"),
        (["~kinds.attacks.pgd", "~kinds.attacks.type2_latent"], "no attack of type2", "=pgd"),
        (["kinds.attacks.pgd.source=3"], "kinds.attacks.pgd.source=3", "to null"),
        (["kinds.attacks.type1.target=3"], "kinds.attacks.type1.target=3", "to random"),
        (["kinds.attacks.pgd.norm=l1"], "kinds.attacks.pgd.norm=l1", "Set kinds.attacks.pgd.norm"),
        (["kinds.images=0"], "kinds.images=0", "kinds.images"),
        (["+kinds.attacks.pgd.target=3"], "kinds.attacks.pgd.target=3, but attack@kinds.attacks.pgd=pgd_l2", "out"),
        (["kinds.attacks.type2_latent.weights.cam=1"], "kinds.attacks.type2_latent.weights.cam=1.0 holds", ".cam=0"),
        (["kinds.false_alarms=0"], "kinds.false_alarms=0", "kinds.false_alarms"),
        (["kinds.level=1"], "kinds.level=1", "kinds.level"),
        (
            ["attack@kinds.attacks.type1=type1_cam", "hardware.compile=true"],
            "kinds.attacks.type1.weights.cam=10.0 holds a map",
            "kinds.attacks.type1.weights.cam=0",
        ),
    ],
)
def test_wrong_values_are_refused(overrides: list[str], what: str, remedy: str) -> None:
    with pytest.raises(UserError) as refusal:
        settings_from(compose(["experiment=roc", *overrides]))
    assert what in refusal.value.what
    assert remedy in refusal.value.remedy


# The stage


NAMES = ("type1", "type2_latent", "pgd")


@pytest.fixture(scope="module")
def overrides(tiny: list[str]) -> list[str]:
    walks = [f"kinds.attacks.{name}.steps=6" for name in NAMES]
    return [
        *tiny,
        "experiment=roc",
        "kinds.images=5",
        "kinds.resamples=100",
        "attack@kinds.attacks.pgd=pgd",
        "kinds.attacks.pgd.strength=0.5",
        *walks,
    ]


@pytest.fixture(scope="module")
def run(overrides: list[str], study: Study) -> tuple[Path, Answer]:
    """The folder of a run on the models of the first study."""
    answer = called([*overrides, "hydra.run.dir=kinds"], study.root)
    assert answer.code == 0, answer.err
    return study.root / "kinds", answer


def test_all_attack_the_same_images(run: tuple[Path, Answer]) -> None:
    first, *others = [load_file(run[0] / f"{name}.safetensors") for name in NAMES]
    assert first["y"].bincount().tolist() == [5, 5, 5]
    assert torch.equal(first["victim_probs_x"].argmax(dim=1), first["y"])
    for other in others:
        assert torch.equal(other["index"], first["index"])
        assert torch.equal(other["x"], first["x"])
    assert torch.equal(others[0]["target"], first["target"])
    assert all((run[0] / f"{name}.csv").read_text().count("\n") == 16 for name in NAMES)


def test_scores_are_the_victims(run: tuple[Path, Answer]) -> None:
    scores = load_file(run[0] / "scores.safetensors")
    for name in NAMES:
        tensors = load_file(run[0] / f"{name}.safetensors")
        torch.testing.assert_close(
            scores[f"attack {name}"].sigmoid().float(), tensors["victim_probs"], atol=1e-5, rtol=0
        )
        torch.testing.assert_close(
            scores["test"][tensors["index"]].sigmoid().float(), tensors["victim_probs_x"], atol=1e-5, rtol=0
        )


def test_roc_json_follows_from_the_tensors(run: tuple[Path, Answer]) -> None:
    content = json.loads((run[0] / "roc.json").read_text())
    scores = load_file(run[0] / "scores.safetensors")
    for label, of_class in enumerate(content["classes"].values()):
        negatives = scores["validation"][scores["validation labels"] != label, label]
        threshold = of_class["clean"]["threshold"]
        assert int((negatives > threshold).sum()) <= 0.01 * len(negatives) < int((negatives >= threshold).sum())
        score, own = scores["test"][:, label].numpy(), (scores["test labels"] == label).numpy()
        assert of_class["clean"]["tpr"]["rate"] == pytest.approx((score[own] > threshold).mean())
        assert of_class["clean"]["fpr"]["rate"] == pytest.approx((score[~own] > threshold).mean())
        assert of_class["clean"]["auc"]["estimate"] == pytest.approx(metrics.roc_auc_score(own, score))
        for name in NAMES:
            tensors, moved = load_file(run[0] / f"{name}.safetensors"), of_class["attacks"][name]
            judged, made = tensors["judge_probs"].argmax(dim=1), tensors["y"] == label
            stay = made & ((judged != label) if name == "type1" else (judged == label))
            assert (moved["pictures"], moved["left_out"]) == (int(stay.sum()), 5 - int(stay.sum()))
            if not stay.any():
                assert (moved["after"], moved["change"], moved["auc"]) == (None, None, None)
                continue
            pictures, rest = scores[f"attack {name}"][stay, label].numpy(), score[~own if name != "type1" else own]
            after, rate = (pictures > threshold).mean(), "fpr" if name == "type1" else "tpr"
            assert moved["after"]["rate"] == pytest.approx(after)
            assert moved["before"] == of_class["clean"][rate]
            assert moved["change"]["estimate"] == pytest.approx(after - moved["before"]["rate"])
            assert moved["together"]["low"] <= moved["change"]["low"] <= moved["change"]["high"]
            kind = np.repeat([name != "type1", name == "type1"], [len(pictures), len(rest)])
            area = metrics.roc_auc_score(kind, np.concatenate([pictures, rest]))
            assert moved["auc"]["estimate"] == pytest.approx(area)


def test_report_is_told_and_drawn(run: tuple[Path, Answer]) -> None:
    said = " ".join(run[1].out.split())
    for sentence in json.loads((run[0] / "roc.json").read_text())["sentences"]:
        assert sentence in said
    assert (run[0] / "figures" / "roc.png").stat().st_size > 0
    assert not (run[0] / "batches").exists()


def test_a_finished_run_is_left_alone(overrides: list[str], run: tuple[Path, Answer], study: Study) -> None:
    again = called([*overrides, "hydra.run.dir=kinds", "resume=kinds"], study.root)
    assert "Nothing is left to do" in again.out


def test_too_many_images_are_refused_before_training(
    command: Callable[..., Answer], overrides: list[str], tmp_path: Path
) -> None:
    answer = command(*overrides, "kinds.images=9")
    assert answer.code == 2
    assert "kinds.images=9 of each class, but only 8 test images of class 0" in answer.err
    assert not (tmp_path / "outputs" / "models").exists()


def test_detectors_json_follows_from_their_scores(run: tuple[Path, Answer]) -> None:
    with (run[0] / "detectors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    content = json.loads((run[0] / "detectors.json").read_text())
    told = {(one["suspects"], one["others"]): one for one in content["areas"]}
    latent = [("type1", "reconstructions"), ("type2_latent", "reconstructions")]
    assert list(told) == [(name, "clean") for name in NAMES] + latent + [("reconstructions", "clean")]
    enough = {names for names, one in told.items() if one["areas"] is not None}
    assert {("pgd", "clean"), ("reconstructions", "clean")} <= enough
    success = {name: load_file(run[0] / f"{name}.safetensors") for name in NAMES}
    for (suspects, others), one in told.items():
        counted = {row["index"] for row in rows if row["picture"] == suspects and row["counted"] == "1"}
        assert one["images"] == len(counted)
        if suspects in success:
            tensors = success[suspects]
            judged, said = (tensors[f"{who}_probs"].argmax(dim=1) for who in ("judge", "victim"))
            if suspects != "type1":
                fooled = (said != tensors["y"]) & (judged == tensors["y"])
                assert counted == {str(number) for number in tensors["index"][fooled].tolist()}
        for detector, area in (one["areas"] or {}).items():
            sides = [
                [float(row[detector]) for row in rows if row["picture"] == name and row["index"] in counted]
                for name in (suspects, others)
            ]
            truth = np.repeat([1, 0], len(counted))
            assert area["estimate"] == pytest.approx(metrics.roc_auc_score(truth, np.concatenate(sides)))
    assert (run[0] / "figures" / "detectors.png").stat().st_size > 0


def test_perturbed_pixels_json_follows_from_the_tensors(run: tuple[Path, Answer]) -> None:
    """By thresholds instead of places: where no pixels are tied, the region is what lies above a quantile."""
    content = json.loads((run[0] / "perturbed_pixels.json").read_text())
    assert "pgd" in content
    for name, told in content.items():
        with (run[0] / "perturbed_pixels.csv").open(newline="") as file:
            rows = {int(row["index"]): row for row in csv.DictReader(file) if row["attack"] == name}
        assert told["images"] == len(rows)
        tensors = load_file(run[0] / f"{name}.safetensors")
        for position, number in enumerate(tensors["index"].tolist()):
            if number not in rows:
                continue
            maps = functional.interpolate(
                tensors["cam_x"][position][None].double(), (16, 16), mode="bilinear", align_corners=False
            )[0]
            moved = (tensors["x_adv"] - tensors["x"])[position, 0].double().square()
            for measure, label in (("true", tensors["y"]), ("target", tensors["target"])):
                one = maps[label[position]].flatten()
                inside = moved.flatten()[one.argsort(descending=True)[:77]].sum() / moved.sum()  # 0.3 · 256
                assert float(rows[number][measure]) == pytest.approx(inside.item(), abs=0.02)
        for measure in ("true", "target", "others", "random"):
            values = [float(row[measure]) for row in rows.values()]
            assert told[measure]["estimate"] == pytest.approx(np.mean(values), abs=1e-5)
        assert told["random"]["estimate"] == pytest.approx(77 / 256, abs=1e-5)
    assert (run[0] / "figures" / "perturbed_pixels.png").stat().st_size > 0
