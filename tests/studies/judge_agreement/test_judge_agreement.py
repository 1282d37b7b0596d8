"""Agreement of the judge with human labels: rates by hand, and the study."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cam_adv.data.splits import LabelledImages
from cam_adv.models.ensemble import Ensemble
from cam_adv.studies.judge_agreement.agreement import judge_agreement


class ConstantClassifier(nn.Module):
    """Predicts one class for every image, with the certainty given by its logit."""

    def __init__(self, label: int, logit: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(logit * nn.functional.one_hot(torch.tensor(label), 3).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), 3)


def test_judge_agreement_by_hand() -> None:
    """The more certain member decides for the ensemble; the human labels are 0, 1, 1, 2."""
    human_labels = LabelledImages(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 1, 2]))
    judge = Ensemble({"zero": ConstantClassifier(0, 1.0), "one": ConstantClassifier(1, 9.0)})
    rates = judge_agreement(judge, human_labels, torch.device("cpu"))
    assert {name: rate.rate for name, rate in rates.items()} == {"judge": 0.5, "zero": 0.25, "one": 0.5}


@pytest.mark.slow
def test_study_writes_the_rates(command: Callable, tiny: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 16, 16), np.uint8))
    np.save(tmp_path / "y.npy", np.array([0, 1, 2]))
    overrides = [*tiny, "study=judge_agreement", "model.judge.training.epochs=1", "hydra.run.dir=agreement"]
    answer = command(*overrides, "study.images=x.npy", "study.labels=y.npy")
    assert answer.code == 0, answer.err
    text = (tmp_path / "agreement" / "judge_agreement.json").read_text()
    assert '"images": 3' in text
    assert text.count('"rate": 0.3333333333333333') == 4  # blank images get one prediction, right for one of three
