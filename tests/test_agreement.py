"""The judge beside people: rates by hand, and files that can't be used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cam_adv.data.people import pictures_of_people
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.evaluation.agreement import agreement
from cam_adv.networks.ensemble import Ensemble, joint

SHAPE = (1, 4, 4)


class Says(nn.Module):
    """Answers one class whatever it sees, with a certainty of its own."""

    def __init__(self, label: int, logit: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(logit * nn.functional.one_hot(torch.tensor(label), 3).float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), 3)


def test_rates_by_hand() -> None:
    """The surer member decides for the ensemble; people say 0, 1, 1, 2."""
    people = LabelledImages(torch.zeros(4, *SHAPE, dtype=torch.uint8), torch.tensor([0, 1, 1, 2]))
    rates = agreement(Ensemble({"zero": Says(0, 1.0), "one": Says(1, 9.0)}), people, torch.device("cpu"))
    assert {name: rate.rate for name, rate in rates.items()} == {"judge": 0.5, "zero": 0.25, "one": 0.5}


def test_members_have_a_veto() -> None:
    """By hand: (0.9·0.4, 0.1·0.6)^½ = (0.6, 0.245), of which 0.71 is the first; a certain zero stays one."""
    members = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]]], dtype=torch.float64)
    assert joint(members, dim=0).tolist() == [pytest.approx([0.6 / (0.6 + 0.06**0.5), 0.06**0.5 / (0.6 + 0.06**0.5)])]
    ruled_out = torch.tensor([[[1.0, 0.0]], [[0.2, 0.8]]], dtype=torch.float64)
    assert joint(ruled_out, dim=0)[0, 1] < 1e-100


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    pixels, labels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4), np.array([2, 0])
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "y.npy", labels)
    people = pictures_of_people(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), SHAPE, 3)
    assert people.images.shape == (2, *SHAPE)
    assert people.images.flatten().tolist() == list(range(32))
    assert people.labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("pixels", "labels", "said"),
    [
        (np.zeros((2, 5, 4), np.uint8), np.array([0, 1]), "people.images"),
        (np.zeros((2, 4, 4), np.float32), np.array([0, 1]), "float32"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0, 3]), "classes from 0 to 3"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0.0, 1.0]), "float64"),
        (np.zeros((2, 4, 4), np.uint8), np.array([0]), "for 2 pictures"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros(0, int), "for 0 pictures"),
        (np.zeros((2, 4, 4), np.uint8), np.array([{}, {}]), "people.labels"),
    ],
)
def test_unfit_files_are_refused(tmp_path: Path, pixels: np.ndarray, labels: np.ndarray, said: str) -> None:
    np.save(tmp_path / "x.npy", pixels)
    np.save(tmp_path / "y.npy", labels)
    with pytest.raises(UserError, match=said):
        pictures_of_people(str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), SHAPE, 3)


@pytest.mark.parametrize("name", ["none.npy", None])
def test_missing_files_are_refused(name: str | None) -> None:
    with pytest.raises(UserError, match=r"people\.images"):
        pictures_of_people(name, None, SHAPE, 3)


def test_the_stage_measures_the_judge(command: Callable, tiny: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 16, 16), np.uint8))
    np.save(tmp_path / "y.npy", np.array([0, 1, 2]))
    overrides = [*tiny, "stage=agreement", "model.judge.training.epochs=1", "hydra.run.dir=agreement"]
    answer = command(*overrides, "people.images=x.npy", "people.labels=y.npy")
    assert answer.code == 0, answer.err
    text = (tmp_path / "agreement" / "agreement.json").read_text()
    assert '"pictures": 3' in text
    assert text.count('"rate": 0.3333333333333333') == 4  # blank pictures get one answer, right for one of three
