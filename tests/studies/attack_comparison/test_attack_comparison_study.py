"""The study `attack_comparison`: its config, and a tiny run whose files follow from its tensors."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import AttackRun, CommandResult, compose, run_in_process
from safetensors.torch import load_file
from sklearn import metrics
from torch.nn import functional

from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError

NAMES = ("type1", "type2_latent", "pgd")


@pytest.fixture(scope="module")
def overrides(tiny: list[str]) -> list[str]:
    return [
        *tiny,
        "study=attack_comparison",
        "study.images=5",
        "study.n_resamples=100",
        "attack@study.attacks.pgd=pgd",
        "study.attacks.pgd.strength=0.5",
        *(f"study.{name}.steps=6" for name in ("control", *(f"attacks.{name}" for name in NAMES))),
    ]


@pytest.fixture(scope="module")
def run(overrides: list[str], attack_run: AttackRun) -> tuple[Path, CommandResult]:
    """The folder of a run on the models of the first study."""
    answer = run_in_process([*overrides, "hydra.run.dir=attack_comparison"], attack_run.root)
    assert answer.code == 0, answer.err
    return attack_run.root / "attack_comparison", answer


class TestConfig:
    @pytest.mark.parametrize("override", ["attack@study.attacks.pgd=fgsm", "study.attacks.pgd.strength=0.1"])
    def test_attack_in_study_is_replaced_or_overridden(self, override: str) -> None:
        attacks = settings_from(compose(["study=attack_comparison", override])).study.attacks
        assert list(attacks) == ["type1", "type2_latent", "pgd"]
        assert (attacks["pgd"].name, attacks["pgd"].strength) in [("fgsm", 0.1), ("pgd_l2", 0.1)]

    @pytest.mark.parametrize("removal", ["~study.attacks.pgd", "~attack@study.attacks.pgd"])
    def test_attack_in_study_is_removed(self, removal: str) -> None:
        attacks = settings_from(compose(["study=attack_comparison", removal])).study.attacks
        assert list(attacks) == ["type1", "type2_latent"]

    def test_attack_in_study_has_its_own_confidence(self) -> None:
        settings = settings_from(compose(["study=attack_comparison", "study.attacks.type1.confidence=0.7"]))
        attacks = {"attack": settings.attack, **settings.study.attacks}
        confidences = {name: one.penalty["confidence"] for name, one in attacks.items() if name != "pgd"}
        assert confidences == {"attack": 0.9, "type1": 0.7, "type2_latent": 0.5}

    @pytest.mark.parametrize(
        ("overrides", "what", "remedy"),
        [
            (["~study.attacks.type1"], "no attack of type1", "+attack@study.attacks.another=type1"),
            (["~study.attacks.pgd", "~study.attacks.type2_latent"], "no attack of type2", "=pgd"),
            (
                ["+study.attacks.pgd.source=3"],
                "study.attacks.pgd.source is called selection.source now",
                "Write selection.source",
            ),
            (
                ["+study.attacks.type1.target=3"],
                "study.attacks.type1.target is called selection.target now",
                "Write selection.target",
            ),
            (["study.attacks.pgd.norm=l3"], "study.attacks.pgd.norm=l3", "Set study.attacks.pgd.norm"),
            (["study.images=0"], "study.images=0", "study.images"),
            (
                ["+study.attacks.pgd.target=3"],
                "study.attacks.pgd.target is called selection.target now",
                "Write selection.target",
            ),
            (
                ["study.attacks.type2_latent.weights.cam=1"],
                "study.attacks.type2_latent.weights.cam=1.0 constrains",
                ".cam=0",
            ),
            (["study.target_fpr=0"], "study.target_fpr=0", "study.target_fpr"),
            (["study.prevalences=[0]"], "study.prevalences", "study.prevalences"),
            (["study.level=1"], "study.level=1", "study.level"),
            (
                ["attack@study.control=pgd"],
                "study.control is pgd, a Type II attack",
                "attack@study.control=transition",
            ),
            (["+attack@study.attacks.control=fgsm"], "study.attacks.control has the name", "another key"),
            (["study.detectors.bits=0"], "study.detectors.bits=0", "study.detectors.bits"),
            (["study.detectors.window=4"], "study.detectors.window=4", "study.detectors.window"),
            (["study.detectors.min_auc=1"], "study.detectors.min_auc=1", "study.detectors.min_auc"),
            (["study.perturbed_pixels.region=0"], "study.perturbed_pixels.region=0", ".region"),
            (["study.perturbed_pixels.marked=1"], "study.perturbed_pixels.marked=1", ".marked"),
            (
                ["attack@study.attacks.type1=type1_cam", "hardware.compile=true"],
                "study.attacks.type1 (type1_cam) needs maps",
                "hardware.compile=false",
            ),
        ],
    )
    def test_invalid_values_raise(self, overrides: list[str], what: str, remedy: str) -> None:
        with pytest.raises(UserError) as refusal:
            settings_from(compose(["study=attack_comparison", *overrides]))
        assert what in refusal.value.what
        assert remedy in refusal.value.remedy


@pytest.mark.slow
class TestRun:
    def test_all_attacks_get_the_same_images(self, run: tuple[Path, CommandResult]) -> None:
        first, *others = [load_file(run[0] / f"{name}.safetensors") for name in NAMES]
        assert first["y"].bincount().tolist() == [5, 5, 5]
        assert torch.equal(first["victim_probs_x"].argmax(dim=1), first["y"])
        for other in others:
            assert torch.equal(other["index"], first["index"])
            assert torch.equal(other["x"], first["x"])
        assert torch.equal(others[0]["target"], first["target"])
        assert all((run[0] / f"{name}.csv").read_text().count("\n") == 16 for name in NAMES)

    def test_scores_are_the_victims_log_odds(self, run: tuple[Path, CommandResult]) -> None:
        scores = load_file(run[0] / "scores.safetensors")
        for name in NAMES:
            tensors = load_file(run[0] / f"{name}.safetensors")
            attacked, clean = scores[name], scores["test"][tensors["index"]]
            torch.testing.assert_close(attacked.sigmoid().float(), tensors["victim_probs"], atol=1e-5, rtol=0)
            torch.testing.assert_close(clean.sigmoid().float(), tensors["victim_probs_x"], atol=1e-5, rtol=0)

    def test_json_follows_from_the_tensors(self, run: tuple[Path, CommandResult]) -> None:
        content = json.loads((run[0] / "attack_comparison.json").read_text())
        scores = load_file(run[0] / "scores.safetensors")
        for label, of_class in enumerate(content["classes"].values()):
            negatives = scores["validation"][scores["validation labels"] != label, label]
            threshold = of_class["clean"]["threshold"]
            assert int((negatives > threshold).sum()) <= 0.01 * len(negatives) < int((negatives >= threshold).sum())
            score, own = scores["test"][:, label].numpy(), (scores["test labels"] == label).numpy()
            assert of_class["clean"]["tpr"]["rate"] == pytest.approx((score[own] > threshold).mean())
            assert of_class["clean"]["fpr"]["rate"] == pytest.approx((score[~own] > threshold).mean())
            assert of_class["clean"]["auc"]["estimate"] == pytest.approx(metrics.roc_auc_score(own, score))
            assert set(of_class["attacks"]) == {"type2_latent", "pgd"}
            for name, shift in of_class["attacks"].items():
                tensors = load_file(run[0] / f"{name}.safetensors")
                stay = (tensors["y"] == label) & (tensors["judge_reads"] == label)
                assert (shift["images"], shift["left_out"]) == (int(stay.sum()), 5 - int(stay.sum()))
                if not stay.any():
                    assert (shift["after"], shift["change"], shift["auc"]) == (None, None, None)
                    continue
                images, rest = scores[name][stay, label].numpy(), score[~own]
                after = (images > threshold).mean()
                assert shift["after"]["rate"] == pytest.approx(after)
                assert shift["before"] == of_class["clean"]["tpr"]
                assert shift["change"]["estimate"] == pytest.approx(after - shift["before"]["rate"])
                assert shift["simultaneous"]["low"] <= shift["change"]["low"] <= shift["change"]["high"]
                kind = np.repeat([True, False], [len(images), len(rest)])
                area = metrics.roc_auc_score(kind, np.concatenate([images, rest]))
                assert shift["auc"]["estimate"] == pytest.approx(area)

    def test_false_positives_follow_from_the_tensors(self, run: tuple[Path, CommandResult]) -> None:
        content = json.loads((run[0] / "attack_comparison.json").read_text())
        found, scores = content["false_positives"], load_file(run[0] / "scores.safetensors")
        thresholds = torch.tensor([of_class["clean"]["threshold"] for of_class in content["classes"].values()])
        labels = scores["test labels"]
        wrong = (scores["test"] > thresholds) & (torch.arange(3) != labels.unsqueeze(1))
        clean = int(wrong.sum()) / (2 * len(labels))
        assert found["clean"]["all"]["rate"] == pytest.approx(clean)
        assert found["attacks"] == ["type1"]
        names = {"type1": "type1", "control transition": "control"}
        assert list(found["pictures"]) == [*names, "G(start) of type1", "reconstructions"]
        for name, file in names.items():
            tensors, of = load_file(run[0] / f"{file}.safetensors"), found["pictures"][name]["all"]
            rows = tensors["judge_reads"] == tensors["target"]
            assert (of["pictures"], of["left_out"]) == (int(rows.sum()), 15 - int(rows.sum()))
            own = scores[name].gather(1, tensors["y"].unsqueeze(1)).squeeze(1)
            above = (own > thresholds[tensors["y"]])[rows].double()
            if not rows.any():
                assert (of["passing"], of["excess"], of["fpr"]) == (None, None, None)
                continue
            passing = above.mean().item()
            assert of["passing"]["rate"] == pytest.approx(passing)
            assert of["excess"]["estimate"] == pytest.approx(passing - clean)
            for prevalence, fpr in zip(found["prevalences"], of["fpr"], strict=True):
                assert fpr["rate"] == pytest.approx((1 - prevalence) * clean + prevalence * passing)
                assert fpr["low"] <= fpr["rate"] <= fpr["high"]
        classes = found["pictures"]["type1"]["classes"].values()
        assert sum(of["pictures"] for of in classes) == found["pictures"]["type1"]["all"]["pictures"]
        assert (run[0] / "figures" / "false_positives.png").stat().st_size > 0

    def test_verdicts_are_printed_and_the_figure_is_drawn(self, run: tuple[Path, CommandResult]) -> None:
        printed = " ".join(run[1].out.split())
        for text in json.loads((run[0] / "attack_comparison.json").read_text())["verdict_texts"]:
            assert text in printed
        assert (run[0] / "figures" / "attack_comparison.png").stat().st_size > 0
        assert not (run[0] / "batches").exists()

    def test_resume_of_finished_run_does_nothing(
        self, overrides: list[str], run: tuple[Path, CommandResult], attack_run: AttackRun
    ) -> None:
        again = run_in_process(
            [*overrides, "hydra.run.dir=attack_comparison", "resume=attack_comparison"], attack_run.root
        )
        assert "Nothing is left to do" in again.out

    def test_too_many_images_raise_before_training(
        self, command: Callable[..., CommandResult], overrides: list[str], tmp_path: Path
    ) -> None:
        answer = command(*overrides, "study.images=9")
        assert answer.code == 2
        assert "study.images=9 of each class, but only 8 test images of class dots" in answer.err
        assert not (tmp_path / "outputs" / "models").exists()

    def test_detectors_json_follows_from_detectors_csv(self, run: tuple[Path, CommandResult]) -> None:
        with (run[0] / "detectors.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        content = json.loads((run[0] / "detectors.json").read_text())
        comparisons = {(one["positives"], one["negatives"]): one for one in content["comparisons"]}
        latent = [("type1", "reconstructions"), ("type2_latent", "reconstructions")]
        assert list(comparisons) == [(name, "clean") for name in NAMES] + latent + [("reconstructions", "clean")]
        enough = {pair for pair, one in comparisons.items() if one["aucs"] is not None}
        assert {("pgd", "clean"), ("reconstructions", "clean")} <= enough
        attacks = {name: load_file(run[0] / f"{name}.safetensors") for name in NAMES}
        for (positives, negatives), one in comparisons.items():
            compared = {row["index"] for row in rows if row["image_set"] == positives and row["compared"] == "1"}
            assert one["images"] == len(compared)
            if positives in attacks and positives != "type1":
                tensors = attacks[positives]
                victim_label = tensors["victim_probs"].argmax(dim=1)
                success = (victim_label != tensors["y"]) & (tensors["judge_reads"] == tensors["y"])
                assert compared == {str(number) for number in tensors["index"][success].tolist()}
            for detector, auc in (one["aucs"] or {}).items():
                sides = [
                    [float(row[detector]) for row in rows if row["image_set"] == name and row["index"] in compared]
                    for name in (positives, negatives)
                ]
                truth = np.repeat([1, 0], len(compared))
                assert auc["estimate"] == pytest.approx(metrics.roc_auc_score(truth, np.concatenate(sides)))
        assert (run[0] / "figures" / "detectors.png").stat().st_size > 0

    def test_perturbed_pixels_json_follows_from_the_tensors(self, run: tuple[Path, CommandResult]) -> None:
        """By thresholds instead of places: where no pixels are tied, the region is what lies above a quantile."""
        content = json.loads((run[0] / "perturbed_pixels.json").read_text())
        assert "pgd" in content
        for name, of_attack in content.items():
            with (run[0] / "perturbed_pixels.csv").open(newline="") as file:
                rows = {int(row["index"]): row for row in csv.DictReader(file) if row["attack"] == name}
            assert of_attack["images"] == len(rows)
            tensors = load_file(run[0] / f"{name}.safetensors")
            for position, number in enumerate(tensors["index"].tolist()):
                if number not in rows:
                    continue
                maps = functional.interpolate(
                    tensors["cam_x"][position][None].double(), (16, 16), mode="bilinear", align_corners=False
                )[0]
                energy = (tensors["x_adv"] - tensors["x"])[position, 0].double().square()
                for measure, label in (("true", tensors["y"]), ("target", tensors["target"])):
                    one = maps[label[position]].flatten()
                    inside = energy.flatten()[one.argsort(descending=True)[:77]].sum() / energy.sum()  # 0.3 · 256
                    assert float(rows[number][measure]) == pytest.approx(inside.item(), abs=0.02)
            for measure in ("true", "target", "others", "random"):
                values = [float(row[measure]) for row in rows.values()]
                assert of_attack[measure]["estimate"] == pytest.approx(np.mean(values), abs=1e-5)
            assert of_attack["random"]["estimate"] == pytest.approx(77 / 256, abs=1e-5)
        assert (run[0] / "figures" / "perturbed_pixels.png").stat().st_size > 0
