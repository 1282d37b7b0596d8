"""No training step waits for the device: on the meta device, which has no values, and on a GPU where there is one."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.utils._python_dispatch import TorchDispatchMode

from cam_adv.data.data_module import Augmentation, BatchLoader
from cam_adv.data.splits import LabelledImages
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.generators.strided_encoder import StridedEncoder
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.victims import GapCNN
from cam_adv.runtime.transfer import to_device
from cam_adv.training.classifier import ClassifierModule
from cam_adv.training.latent_heads import LatentHeads
from cam_adv.training.svae_gan import SVAEGAN

META = torch.device("meta")


class Copies(TorchDispatchMode):
    """Records every copy of a tensor to another device, as the operation's name and whether the CPU waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, bool]] = []

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(options or {})
        result = function(*arguments, **options)
        name = str(function)
        if isinstance(result, Tensor) and name.startswith(("aten._to_copy", "aten.copy_")):
            source = arguments[1] if name.startswith("aten.copy_") else arguments[0]
            if source.device != result.device:
                waits = not options.get("non_blocking", arguments[2] if len(arguments) > 2 else False)
                self.seen.append((name, waits))
        return result


def classifier() -> ClassifierModule:
    """With all that a classifier's step may draw and compute."""
    return ClassifierModule(GapCNN(1, 3, widths=[4, 8, 8]), 1e-3, 1e-4, 0.1, pixel_noise=0.5, adversarial_radius=1.0)


def svae_gan(svae_epochs: int) -> SVAEGAN:
    """In the first phase, or, with 0 epochs of it, in the second."""
    network = SVAE(1, 3, (16, 16), latent_size=8, width=4, hidden=16)
    return SVAEGAN(network, svae_epochs, 1, 1e-3, "bernoulli", 1.0, 1.0, 0.5, feature_width=2, seed=0)


class Blobs(nn.Module):
    """A decoder from elsewhere."""

    code_shape = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 256)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        return self.layer(z + one_hot(y, 6)).sigmoid().unflatten(1, (1, 16, 16))


def latent_heads(encoder_epochs: int) -> LatentHeads:
    """In the first phase, or, with 0 epochs of it, in the second."""
    encoder = partial(StridedEncoder, width=4, hidden=16)
    return LatentHeads(PretrainedGenerator(Blobs(), 1, 3, (16, 16), encoder=encoder), encoder_epochs, 1, 1e-3, seed=0)


MODULES = {
    "classifier": classifier,
    "svae": lambda: svae_gan(1),
    "discriminator": lambda: svae_gan(0),
    "encoder": lambda: latent_heads(1),
    "heads": lambda: latent_heads(0),
}


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LightningModule:
    trainer = SimpleNamespace(global_step=3, current_epoch=0, global_rank=0, estimated_stepping_batches=9)
    built = MODULES[request.param]()
    monkeypatch.setattr(built, "_trainer", trainer)
    return built


def loader(device: torch.device) -> BatchLoader:
    """Two augmented batches of 4 on a device."""
    images = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = LabelledImages(images, torch.arange(8) % 3).to(device)
    return BatchLoader(data, 4, True, 0, Augmentation(shift=1.0, rotation=5.0, brightness=0.1))


def test_copies_records_whether_the_cpu_waits() -> None:
    with Copies() as copies:
        torch.ones(2).to(META)
        torch.ones(2).to(torch.float64)
        to_device(torch.ones(2), META)
    assert [waits for _, waits in copies.seen] == [True, False]


def test_steps_need_no_value_from_the_device_and_wait_for_no_copy(module: LightningModule) -> None:
    module.to(META).train()
    batches = loader(META)
    with Copies() as copies:
        for number, batch in enumerate(batches):
            loss = module.training_step(batch, number)
            assert isinstance(loss, Tensor)
            loss.backward()
    assert copies.seen, "the draws are made on the CPU"
    assert not any(waits for _, waits in copies.seen)


def test_loader_copies_the_order_and_the_draws_once() -> None:
    batches = loader(META)
    with Copies() as copies:
        assert len(list(batches)) == 2
    assert len(copies.seen) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_steps_on_a_gpu_synchronise_nowhere(module: LightningModule) -> None:
    device = torch.device("cuda")
    module.to(device).train()
    optimizer = torch.optim.AdamW([weight for weight in module.parameters() if weight.requires_grad], fused=True)
    for mode in ("default", "error"):  # the first time, memory and kernels are prepared
        batches = iter(loader(device))
        torch.cuda.set_sync_debug_mode(mode)
        try:
            for number, batch in enumerate(batches):
                loss = module.training_step(batch, number)
                assert isinstance(loss, Tensor)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        finally:
            torch.cuda.set_sync_debug_mode("default")
