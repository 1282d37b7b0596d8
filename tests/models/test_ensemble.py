"""The product of experts, by hand."""

import pytest
import torch

from cam_adv.models.ensemble import product_of_experts


def test_product_of_experts_by_hand_and_with_a_zero() -> None:
    """By hand: (0.9·0.4, 0.1·0.6)^½ = (0.6, 0.245), 0.71 of it for the first; a probability of 0 stays 0."""
    members = torch.tensor([[[0.9, 0.1]], [[0.4, 0.6]]], dtype=torch.float64)
    assert product_of_experts(members, dim=0).tolist() == [
        pytest.approx([0.6 / (0.6 + 0.06**0.5), 0.06**0.5 / (0.6 + 0.06**0.5)])
    ]
    ruled_out = torch.tensor([[[1.0, 0.0]], [[0.2, 0.8]]], dtype=torch.float64)
    assert product_of_experts(ruled_out, dim=0)[0, 1] < 1e-100
