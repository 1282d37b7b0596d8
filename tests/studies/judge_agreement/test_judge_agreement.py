"""Agreement of the judge with human labels: rates by hand, and the study."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cam_adv.data.human_labels import NOTHING, HumanLabels
from cam_adv.data.splits import LabelledImages
from cam_adv.metrics.intervals import wilson
from cam_adv.models.judge import Judge, Reading
from cam_adv.studies.judge_agreement.agreement import TEXTS, judge_agreement

CPU = torch.device("cpu")


class ScriptedJudge(Judge):
    """Finds the class `number % 10` likeliest in a picture whose pixels are all `number`, and reads it below 10."""

    def __init__(self) -> None:
        super().__init__({}, 0.1, 1, 1)

    def read(self, images: torch.Tensor, device: torch.device) -> Reading:
        number = images[:, 0, 0, 0].long()
        probs = torch.nn.functional.one_hot(number % 10, 10).float()
        reads = torch.where(number < 10, number, NOTHING)
        return Reading(probs.unsqueeze(1), probs, torch.ones(len(images)), reads)


def pictures(numbers: list[int]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def shares(people: HumanLabels, real: LabelledImages) -> dict[str, tuple[int, int]]:
    """The rates as counts of hits and trials that give the same Wilson interval."""
    found = {}
    for name, rate in judge_agreement(ScriptedJudge(), people, real, CPU).items():
        (found[name],) = (
            (hits, trials) for trials in range(1, 20) for hits in range(trials + 1) if wilson(hits, trials) == rate
        )
    return found


def test_judge_agreement_by_hand() -> None:
    """Of real images it reads 0, 1, 2, 2 and 1, the last wrongly; it reads nothing in the sixth.

    People agree on the first five pictures: it reads three of these, two of them as they do, and finds their class
    likeliest in one more. In the last three a reader saw nothing: it reads a class in one.
    """
    real = LabelledImages(pictures([0, 1, 2, 2, 1, 10]), torch.tensor([0, 1, 2, 2, 0, 0]))
    people = HumanLabels(
        pictures([0, 1, 2, 13, 14, 5, 6, 16, 17]),
        torch.tensor([[0, 0], [1, 1], [5, 5], [3, 3], [7, 7], [5, 6], [6, -1], [-1, -1], [-1, 7]]),
    )
    assert shares(people, real) == {
        "real_accepted": (5, 6),
        "real_right": (4, 5),
        "agreed_accepted": (3, 5),
        "agreed_right": (2, 3),
        "agreed_likeliest": (3, 5),
        "nothing_accepted": (1, 3),
    }


def test_judge_agreement_leaves_out_rates_of_no_picture() -> None:
    """One reader who always saw a class, and a judge that reads none of what he saw."""
    people = HumanLabels(pictures([10, 11]), torch.tensor([[0], [2]]))
    real = LabelledImages(pictures([10]), torch.tensor([0]))
    found = shares(people, real)
    assert found == {"real_accepted": (0, 1), "agreed_accepted": (0, 2), "agreed_likeliest": (1, 2)}
    assert list(found) == [name for name in TEXTS if name in found]


@pytest.mark.slow
def test_study_writes_and_prints_the_rates(command: Callable, tiny: list[str], tmp_path: Path) -> None:
    """Blank pictures: two on which both readers agree, one that is a class for one of them only."""
    np.save(tmp_path / "x.npy", np.zeros((3, 16, 16, 1), np.uint8))
    np.save(tmp_path / "y.npy", np.array([[0, 0], [1, 1], [2, -1]]))
    overrides = [*tiny, "study=judge_agreement", "model.judge.training.epochs=1", "hydra.run.dir=agreement"]
    answer = command(*overrides, "study.images=x.npy", "study.labels=y.npy")
    assert answer.code == 0, answer.err
    content = json.loads((tmp_path / "agreement" / "judge_agreement.json").read_text())
    counts = {name: content.pop(name) for name in ("images", "readers", "agreed", "nothing")}
    assert counts == {"images": 3, "readers": 2, "agreed": 2, "nothing": 1}
    assert set(content) <= set(TEXTS)
    # Blank pictures are all the same to the judge: it reads a class in all or in none, and agrees with one at most.
    accepted = content["agreed_accepted"]["rate"]
    assert accepted in (0, 1)
    assert content["nothing_accepted"]["rate"] == accepted
    assert content["agreed_likeliest"]["rate"] in (0, 0.5)
    assert ("agreed_right" in content) == bool(accepted)
    assert content["agreed_accepted"] == pytest.approx(vars(wilson(2 * accepted, 2)))
    printed = " ".join(answer.out.split())
    for name in content:
        assert f"{content[name]['rate']:.1%}" in printed
    assert "pictures in which a reader sees nothing: the" in printed
