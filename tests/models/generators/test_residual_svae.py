"""The supervised VAE of residual blocks: sizes, ranges, and that no image depends on its batch."""

import pytest
import torch

from cam_adv.models.generators.residual_svae import ResidualSVAE


def network(
    image_size: tuple[int, int] = (32, 32), channels: int = 3, widths: tuple[int, ...] = (8, 16)
) -> ResidualSVAE:
    torch.manual_seed(0)
    return ResidualSVAE(channels, 4, image_size, latent_size=6, widths=widths).eval()


@pytest.mark.parametrize(
    ("channels", "size", "widths"),
    [(3, (32, 32), (8, 16, 24)), (1, (28, 28), (8, 16, 24)), (3, (30, 45), (8, 16)), (1, (5, 7), (8,))],
)
def test_reconstruction_keeps_size_and_range(channels: int, size: tuple[int, int], widths: tuple[int, ...]) -> None:
    images = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    made = network(size, channels, widths)
    reconstruction = made.reconstruct(images)
    assert reconstruction.shape == images.shape
    assert 0 <= reconstruction.min() < reconstruction.max() <= 1
    posterior = made.encode(images)
    assert posterior.mean.shape == posterior.std.shape == (2, 6)
    assert posterior.std.min() > 0


def test_coarsest_maps_are_halved_once_for_each_width() -> None:
    made = network((30, 45), widths=(8, 16, 24))
    assert made.decoder[1].unflattened_size == (24, 4, 6)  # 30 / 8 and 45 / 8, rounded up


def test_no_image_depends_on_its_batch() -> None:
    """In training mode, too: normalisation is within each image."""
    made, images = network().train(), torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([made.reconstruct(image.unsqueeze(0)) for image in images])
    assert torch.allclose(made.reconstruct(images), alone, atol=1e-5)


def test_heads_have_published_layers() -> None:
    """f2: 256-128-K. D: 256-128-64-1, as in `SVAE`."""
    made = network()
    sizes = [
        [layer.out_features for layer in head if isinstance(layer, torch.nn.Linear)]
        for head in (made.classifier, made.discriminator)
    ]
    assert sizes == [[256, 128, 4], [256, 128, 64, 1]]
