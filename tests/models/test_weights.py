"""A victim's weights from a file: what fits is loaded, however it is wrapped; what doesn't is refused in words."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cam_adv.errors import UserError
from cam_adv.models.victims import GapCNN
from cam_adv.models.weights import load_weights

State = dict[str, Tensor]


def network(seed: int, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return GapCNN(1, classes, (2, 3, 4)).eval()


def state(seed: int = 1, classes: int = 3) -> State:
    """Weights and statistics of a trained network."""
    return {
        key: value + 0.25 if value.is_floating_point() else value + 9
        for key, value in network(seed, classes).state_dict().items()
    }


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda weights: {prefix + key: value for key, value in weights.items()}


WRAPPED: dict[str, Callable[[State], Any]] = {
    "plain": lambda weights: weights,
    "state_dict": lambda weights: {"state_dict": weights, "epoch": 3},
    "model": lambda weights: {"model": weights, "optimizer": {"lr": 0.1}},
    "module.": prefixed("module."),
    "_orig_mod.": prefixed("_orig_mod."),
    "both": lambda weights: {"state_dict": prefixed("module.")(weights)},
    "timm": lambda weights: {"state_dict": weights, "arch": "resnet18", "epoch": 3, "args": Namespace(lr=0.1)},
    "Lightning": lambda weights: {"state_dict": prefixed("network.")(weights)},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_loaded_however_they_are_wrapped(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    torch.save(wrap(state()), tmp_path / "weights.pth")
    loaded = network(0)
    load_weights(loaded, str(tmp_path / "weights.pth"), "my.Net")
    for key, value in state().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_safetensors_are_loaded(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "weights.safetensors")
    loaded = network(0)
    load_weights(loaded, str(tmp_path / "weights.safetensors"), "my.Net")
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in state().items())


def test_names_that_begin_with_module_themselves_are_kept(tmp_path: Path) -> None:
    parallel = nn.DataParallel(network(1))
    torch.save(parallel.state_dict(), tmp_path / "weights.pt")
    loaded = nn.DataParallel(network(0))
    load_weights(loaded, str(tmp_path / "weights.pt"), "my.Net")
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in parallel.state_dict().items())


def test_counters_of_batch_norm_may_be_missing(tmp_path: Path) -> None:
    torch.save({key: value for key, value in state().items() if "num_batches" not in key}, tmp_path / "weights.pt")
    loaded = network(0)
    load_weights(loaded, str(tmp_path / "weights.pt"), "my.Net")
    assert torch.equal(loaded.state_dict()["classifier.weight"], state()["classifier.weight"])


def test_weights_of_other_classes_are_refused_with_keys_and_shapes(tmp_path: Path) -> None:
    torch.save(state(classes=5), tmp_path / "five.pt")
    refusing = network(0)
    before = {key: value.clone() for key, value in refusing.state_dict().items()}
    with pytest.raises(UserError) as refused:
        load_weights(refusing, str(tmp_path / "five.pt"), "my.Net")
    assert refused.value.what == (
        f"model.victim.weights={tmp_path / 'five.pt'} doesn't fit my.Net: it has in another shape "
        "classifier.weight (5×4 for 3×4), classifier.bias (5 for 3)."
    )
    assert all(torch.equal(refusing.state_dict()[key], value) for key, value in before.items())


def test_missing_and_further_weights_are_refused_with_the_first_names(tmp_path: Path) -> None:
    renamed = {key.replace("classifier", "fc"): value for key, value in state().items()}
    torch.save(renamed | {f"extra.{number}": torch.zeros(1) for number in range(9)}, tmp_path / "weights.pt")
    with pytest.raises(UserError) as refused:
        load_weights(network(0), str(tmp_path / "weights.pt"), "my.Net")
    assert "it has no classifier.weight, classifier.bias; " in refused.value.what
    assert "has, beyond the network's, fc.weight, fc.bias, extra.0 and 8 more." in refused.value.what


class TestUnreadable:
    @pytest.mark.parametrize(
        ("write", "reason"),
        [
            (lambda file: None, "there is no such file"),
            (lambda file: file.mkdir(), "there is no such file"),
            (lambda file: file.write_bytes(b"<html>"), "reading tensors alone"),
            (lambda file: torch.save(network(0), file), "reading tensors alone"),
            (lambda file: torch.save(torch.zeros(3), file), "it holds no state dict"),
            (lambda file: torch.save({"epoch": 3}, file), "it holds no state dict"),
            (lambda file: torch.save({}, file), "it holds no state dict"),
            (lambda file: torch.save({0: torch.zeros(1)}, file), "it holds no state dict"),
        ],
        ids=["missing", "folder", "text", "whole network", "tensor", "no weights", "empty", "numbered"],
    )
    @pytest.mark.parametrize("suffix", ["pt", "safetensors"])
    def test_unreadable_file_is_refused(
        self, tmp_path: Path, write: Callable[[Path], object], reason: str, suffix: str
    ) -> None:
        file = tmp_path / f"weights.{suffix}"
        write(file)
        with pytest.raises(UserError) as refused:
            load_weights(network(0), str(file), "my.Net")
        assert refused.value.what.startswith(f"model.victim.weights={file} can't be read: ")
        if suffix == "pt":
            assert reason in refused.value.what
        assert "state_dict()" in refused.value.remedy
