"""The advantage of a pixel ranking over a random one."""

import pytest
import torch

from cam_adv.studies.explanation_reliability.faithfulness import advantages


def test_advantages_of_a_correct_and_a_reversed_ranking_are_opposite() -> None:
    """The margin is the sum of the squared pixels of the upper left quarter: both baselines remove it."""

    def network(images: torch.Tensor) -> torch.Tensor:
        energy = images[:, 0, :4, :4].square().sum(dim=(1, 2))
        return torch.stack([energy, -energy], dim=1)

    images = torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    correct = torch.zeros(300, 8, 8)
    correct[:, :4, :4] = 1
    label, target = torch.zeros(300, dtype=torch.long), torch.ones(300, dtype=torch.long)

    def measure(factor: float) -> dict[str, torch.Tensor]:
        return advantages(
            lambda images: factor * network(images),
            images,
            {"correct": correct, "reversed": -correct},
            label,
            target,
            8,
            1.0,
            torch.Generator().manual_seed(0),
            torch.device("cpu"),
        )

    found = measure(1.0)
    assert found["correct"].mean().item() == pytest.approx(0.75, abs=0.1)  # area 7/8 minus area 1/8
    assert found["reversed"].mean().item() == pytest.approx(-0.75, abs=0.1)
    assert torch.allclose(measure(9.0)["correct"], found["correct"], atol=1e-4)  # the unit is the margin itself
