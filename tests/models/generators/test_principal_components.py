"""Whitened principal components: mean 0 and covariance I, and what is kept on the way back."""

import pytest
import torch
from torch import Tensor

from cam_adv.errors import UserError
from cam_adv.models.generators.principal_components import PrincipalComponents


def codes(count: int = 200) -> Tensor:
    """Correlated codes of five numbers, the third of which is the sum of the first two."""
    free = torch.randn(count, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0, 0.5, 0.1])
    return torch.stack([free[:, 0], free[:, 1], free[:, 0] + free[:, 1], free[:, 2], free[:, 3]], dim=1) + 7


def fitted(components: int) -> PrincipalComponents:
    made = PrincipalComponents(5, components)
    made.fit(codes())
    return made


@pytest.mark.parametrize("components", [1, 3, 4])
def test_fitted_codes_have_mean_zero_and_covariance_one(components: int) -> None:
    z = fitted(components)(codes())
    assert torch.allclose(z.mean(dim=0), torch.zeros(components), atol=1e-4)
    assert torch.allclose(torch.cov(z.T).reshape(components, components), torch.eye(components), atol=1e-3)


def test_all_directions_that_vary_give_the_codes_back() -> None:
    made = fitted(4)
    assert torch.allclose(made.inverse(made(codes())), codes(), atol=1e-4)


def test_fewer_directions_leave_the_smallest_squared_error() -> None:
    """That of the singular values that are left out (Eckart and Young 1936)."""
    made = fitted(2)
    error = (made.inverse(made(codes())) - codes()).square().sum()
    left_out = torch.linalg.svdvals(codes() - codes().mean(dim=0))[2:]
    assert error.item() == pytest.approx(left_out.square().sum().item(), rel=1e-3)


def test_z_of_an_inverse_is_z() -> None:
    z = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
    made = fitted(2)
    assert torch.allclose(made(made.inverse(z)), z, atol=1e-4)


def test_spread_is_that_of_many_noisy_codes() -> None:
    made, std = fitted(3), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    noise = std * torch.randn(200_000, 5, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(made(codes()[0] + noise).std(dim=0), made.spread(std.unsqueeze(0))[0], rtol=0.02)


def test_fit_is_part_of_the_state() -> None:
    other = PrincipalComponents(5, 3)
    other.load_state_dict(fitted(3).state_dict())
    assert torch.equal(other(codes()), fitted(3)(codes()))


def test_autocast_does_not_round() -> None:
    made, std = fitted(3), torch.rand(4, 5, generator=torch.Generator().manual_seed(3))
    z = made(codes())
    with torch.autocast("cpu", torch.bfloat16):
        assert (z @ z.T).dtype == torch.bfloat16  # what is not protected
        assert torch.equal(made(codes()), z)
        assert made.spread(std.bfloat16()).dtype == torch.float32
        under_autocast = made.inverse(z), made.spread(std)
    assert torch.equal(under_autocast[0], made.inverse(z))
    assert torch.equal(under_autocast[1], made.spread(std))


@pytest.mark.parametrize("components", [0, 6])
def test_more_components_than_numbers_are_refused(components: int) -> None:
    with pytest.raises(UserError, match=f"components={components}, but the decoder's codes have 5 numbers"):
        PrincipalComponents(5, components)


def test_more_components_than_directions_are_refused_with_their_number() -> None:
    with pytest.raises(UserError, match="codes of 200 training images vary in 4 directions") as refused:
        fitted(5)
    assert refused.value.remedy == "Give at most 4."
    with pytest.raises(UserError, match="vary in 2 directions"):
        PrincipalComponents(5, 4).fit(codes(3))
