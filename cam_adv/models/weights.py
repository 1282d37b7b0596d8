"""A network's trained weights, from a file of the user's."""

import hashlib
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cam_adv.errors import UserError

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which checkpoints have their weights."""

PREFIXES = ("module.", "_orig_mod.", "network.", "model.")
"""What DataParallel, torch.compile, and modules of Lightning put before the name of every weight."""

VICTIM = "model.victim.weights"
"""Path in the config of the file with a victim's weights."""

NAMED_KEYS = 3
"""Largest number of weights of one kind that an error message names."""


def file_digest(path: str) -> str:
    """SHA-256 of a file's content.

    Raises:
        UserError: there is no such file.
    """
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    except OSError as error:
        raise _unreadable(VICTIM, path, error.strerror or type(error).__name__) from error


def load_weights(network: nn.Module, path: str, name: str, setting: str = VICTIM) -> None:
    """Load a state dict from a file; only tensors and plain values are unpickled.

    It may be the value of "state_dict" or "model" in a checkpoint, and its names may begin with "module.".

    Args:
        path: of a file of safetensors or of torch.save.
        name: of the network, and setting: path of the file's key in the config, for the messages.

    Raises:
        UserError: the file can't be read, or holds no weights of this network.
    """
    state = _state_dict(path, setting)
    own = network.state_dict()
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state) and not all(key.startswith(prefix) for key in own):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    counters = {key for key in own if key.endswith("num_batches_tracked")}  # earlier versions of PyTorch had none
    faults = {
        "has no": [key for key in own if key not in state and key not in counters],
        "has, beyond the network's,": [key for key in state if key not in own],
        "has in another shape": [
            f"{key} ({_shape(state[key])} for {_shape(own[key])})"
            for key in own
            if key in state and state[key].shape != own[key].shape
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{what} {_first(keys)}" for what, keys in faults.items() if keys)
        raise UserError(
            f"{setting}={path} doesn't fit {name}: it {listed}.",
            "Give the weights of this very network, with as many classes and channels as the dataset, or the network "
            "that these weights are of.",
        )
    network.load_state_dict(state, strict=False)


def _state_dict(path: str, setting: str) -> dict[str, Tensor]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise _unreadable(setting, path, "there is no such file")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            with torch.serialization.safe_globals([Namespace]):  # a checkpoint of timm has its command's arguments
                content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or foreign bytes raise many kinds of errors
        raise _unreadable(setting, path, f"{type(error).__name__}, reading tensors alone") from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    named = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    )
    if not named or not content:
        raise _unreadable(setting, path, "it holds no state dict")
    return dict(content)


def _unreadable(setting: str, path: str, reason: str) -> UserError:
    return UserError(
        f"{setting}={path} can't be read: {reason}.",
        "Give a file that torch.save(network.state_dict(), FILE) or safetensors wrote.",
    )


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


def _first(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - NAMED_KEYS} more" if len(keys) > NAMED_KEYS else ""
    return ", ".join(keys[:NAMED_KEYS]) + more
