"""Detectors: scores by hand, AUCs against scikit-learn, the detection rule, and the verdicts' text."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from cam_adv.metrics.evaluator import Evaluator
from cam_adv.metrics.intervals import Interval
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.judge import Judge
from cam_adv.studies.attack_comparison.config import AttackComparisonConfig, DetectorConfig, PerturbedPixelsConfig
from cam_adv.studies.attack_comparison.detectors import (
    CLEAN,
    RECONSTRUCTIONS,
    DetectionResults,
    DetectionVerdict,
    decide_detection,
    detect,
    detector_scores,
)
from cam_adv.studies.attack_comparison.detectors_report import verdict_text
from cam_adv.studies.attack_comparison.feature_squeezing import median_filter

CONFIG = AttackComparisonConfig(
    images=30,
    target_fpr=0.01,
    prevalences=[0.5],
    n_resamples=50,
    level=0.95,
    detectors=DetectorConfig(bits=1, window=2, min_auc=0.75),
    perturbed_pixels=PerturbedPixelsConfig(region=0.3, marked=0.05),
)
KINDS = {"type1": "type1", "type2_latent": "type2", "pgd": "type2"}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    """A victim and a generator with random weights."""
    torch.manual_seed(0)
    victim = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    generator = SVAE(1, 3, (8, 8), latent_size=4, width=4, hidden=8)
    return Evaluator(victim, None, Judge({"judge": victim}, 0.1, 1, 1), generator, torch.device("cpu"))


@pytest.fixture(scope="module")
def results(evaluator: Evaluator) -> DetectionResults:
    """Of noise: type1 succeeds on the first 9 of 12 images, type2_latent on one, pgd on the last 8."""
    success = {
        "type1": torch.arange(12) < 9,
        "type2_latent": torch.arange(12) == 3,
        "pgd": torch.arange(12) >= 4,
    }
    x, *attacked = torch.rand(4, 12, 1, 8, 8, generator=seeded(1))
    codes = evaluator.generator.encode(x).mean.detach()
    evaluations = {
        name: SimpleNamespace(
            kind=KINDS[name],
            result=SimpleNamespace(x=x, x_adv=x_adv),
            on_x=SimpleNamespace(codes=codes),
            verdict=SimpleNamespace(success=success[name]),
            cluster=torch.arange(12),
        )
        for name, x_adv in zip(success, attacked, strict=True)
    }
    return detect(evaluations, {"type1", "type2_latent"}, evaluator, CONFIG, seed=0)


@pytest.mark.parametrize(
    ("type1", "type2", "answer"),
    [
        ((0.3, 0.6), (0.8, 0.9), "does not detect"),
        ((0.5, 0.74), (0.74, 0.9), "undecided"),  # not below the interval for Type II
        ((0.5, 0.75), (0.8, 0.9), "undecided"),  # reaches min_auc
        ((0.6, 0.9), (0.95, 1.0), "undecided"),
        ((0.75, 0.9), (0.95, 1.0), "detects"),
        ((0.3, 0.6), (0.4, 0.5), "detects neither"),
        ((0.3, 0.6), (0.4, 0.75), "undecided"),
    ],
)
def test_decide_detection_by_hand(type1: tuple[float, float], type2: tuple[float, float], answer: str) -> None:
    intervals = (Interval(sum(ends) / 2, *ends) for ends in (type1, type2))
    assert decide_detection(*intervals, min_auc=0.75) == answer


def test_detector_scores_follow_their_definitions(evaluator: Evaluator) -> None:
    images = torch.rand(5, 1, 8, 8, generator=seeded(2))
    scores = detector_scores(images, evaluator, CONFIG.detectors)
    generator = evaluator.generator
    with torch.no_grad():
        mean = generator.encode(images).mean
        error = (generator.decode(mean) - images).square().sum(dim=(1, 2, 3)).sqrt()
        torch.testing.assert_close(scores["reconstruction error"], error)
        on_manifold = generator.discriminator(mean).squeeze(1)
        assert scores["latent discriminator"].argsort().tolist() == on_manifold.argsort(descending=True).tolist()
        probs = evaluator.victim(images).softmax(dim=1)
        torch.testing.assert_close(scores["victim uncertainty"].float(), 1 - probs.amax(dim=1))
        squeezed = [(images > 0.5).float(), median_filter(images, 2)]
        distances = [(evaluator.victim(one).softmax(dim=1) - probs).abs().sum(dim=1) for one in squeezed]
        torch.testing.assert_close(scores["feature squeezing"], torch.maximum(*distances))


def test_detect_compares_successes_on_the_same_images(results: DetectionResults) -> None:
    comparisons = {(one.positives, one.negatives): one for one in results.comparisons}
    rows = {
        ("type1", CLEAN): slice(0, 9),
        ("type1", RECONSTRUCTIONS): slice(0, 9),
        ("pgd", CLEAN): slice(4, 12),
        (RECONSTRUCTIONS, CLEAN): slice(0, 12),
    }
    for pair, chosen in rows.items():
        for detector, auc in comparisons.pop(pair).aucs.items():
            sides = [results.scores[name][detector][chosen] for name in pair]
            truth = [1] * len(sides[0]) + [0] * len(sides[1])
            assert auc.estimate == pytest.approx(roc_auc_score(truth, torch.cat(sides)))
            assert auc.low <= auc.estimate <= auc.high
    assert set(comparisons) == {("type2_latent", CLEAN), ("type2_latent", RECONSTRUCTIONS)}
    assert all((one.images, one.aucs) == (1, None) for one in comparisons.values())


def test_detect_verdicts_compare_type1_with_pgd(results: DetectionResults) -> None:
    aucs = {(one.positives, one.negatives): one.aucs for one in results.comparisons}
    assert [one.detector for one in results.verdicts] == list(results.scores[CLEAN])
    for one in results.verdicts:
        assert (one.attack, one.reference) == ("type1", "pgd")
        assert one.auc == aucs["type1", CLEAN][one.detector]
        assert one.reference_auc == aucs["pgd", CLEAN][one.detector]
        assert one.reconstruction_auc == aucs["type1", RECONSTRUCTIONS][one.detector]
        assert one.answer == decide_detection(one.auc, one.reference_auc, CONFIG.detectors.min_auc)


def test_verdict_text_names_auc_below_chance() -> None:
    low, high, middle = Interval(0.3, 0.2, 0.4), Interval(0.95, 0.9, 1.0), Interval(0.6, 0.5, 0.7)
    verdict = DetectionVerdict("squeezing", "type1", "pgd", "does not detect", low, high, middle)
    assert verdict_text(verdict) == (
        "squeezing does not detect type1, and scores it as less adversarial than clean images: AUC 0.30 (0.20 to "
        "0.40), compared with 0.95 (0.90 to 1.00) for pgd; against reconstructions 0.60 (0.50 to 0.70)."
    )
