"""Capture of module calls: order, replaced maps, and removal of the hooks."""

import pytest
import torch
from torch import Tensor, nn

from cam_adv.models.capture import edit_maps, record_calls


class Failing(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        raise RuntimeError("no output")


def hooks_of(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_record_calls_lists_inputs_and_outputs_in_order_of_completion() -> None:
    double, shift = nn.Linear(1, 1), nn.ReLU()
    network = nn.Sequential(double, shift, shift)
    x = torch.ones(2, 1)
    with record_calls(network.modules()) as calls:
        output = network(x)
    assert [call.module for call in calls] == [double, shift, shift, network]
    assert calls[0].inputs == (x,)
    assert calls[1].inputs[0] is calls[0].output
    assert calls[-1].output is output
    assert hooks_of(network) == 0
    network(x)
    assert len(calls) == 4


def test_record_calls_keeps_the_autograd_history() -> None:
    network = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Flatten())
    with record_calls([network[0]]) as calls:
        network(torch.ones(1, 3))
    (gradient,) = torch.autograd.grad(calls[0].output.sum(), network[0].weight)
    assert torch.equal(gradient, torch.ones(2, 3))


@pytest.mark.parametrize("at_input", [False, True])
def test_edit_maps_replaces_the_maps_of_a_layer(at_input: bool) -> None:
    network = nn.Sequential(nn.Identity(), nn.Identity())
    maps, seen = torch.ones(1, 2, 3, 3), []
    with edit_maps(network[1], at_input, lambda found: 3 * found):
        assert torch.equal(network(maps), 3 * maps)
        assert torch.equal(network(torch.ones(2)), torch.ones(2))  # no maps
    with edit_maps(network[1], at_input, seen.append):
        assert torch.equal(network(maps), maps)
    assert [one is maps for one in seen] == [True]
    assert hooks_of(network) == 0


@pytest.mark.parametrize("at_input", [False, True])
def test_hooks_are_removed_after_an_error(at_input: bool) -> None:
    network = nn.Sequential(nn.Linear(1, 1), Failing())
    with pytest.raises(RuntimeError, match="no output"), record_calls(network.modules()):
        network(torch.ones(1, 1))
    with pytest.raises(RuntimeError, match="no output"), edit_maps(network[1], at_input, lambda found: found):
        network(torch.ones(1, 1))
    assert hooks_of(network) == 0
