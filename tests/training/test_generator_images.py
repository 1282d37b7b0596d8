"""Images of a generator in the TensorBoard events of its training."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cam_adv.models.generators.svae import SVAE
from cam_adv.training.generator_images import write_generator_images

HEIGHT, WIDTH = 8, 12


def test_second_write_replaces_images_and_nothing_else(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = SVAE(1, 3, (HEIGHT, WIDTH), latent_size=3, width=2, hidden=8).eval()
    images = torch.randint(0, 256, (70, 1, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)).byte()
    weights = {name: value.clone() for name, value in generator.state_dict().items()}
    state = torch.get_rng_state()
    (tmp_path / "events.out.tfevents.1.of.the.training").write_bytes(b"")
    for _ in range(2):
        write_generator_images(generator, images, tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, weights[name]) for name, value in generator.state_dict().items())
    assert len(list(tmp_path.iterdir())) == 2

    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    originals = images[:64].float() / 255
    codes = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = {
            "x": originals,
            "reconstruction": generator.reconstruct(originals),
            "prior_samples": generator.decode(codes),
        }
    assert set(events.Tags()["images"]) == {f"views/{name}" for name in expected}
    for name, shown in expected.items():
        (event,) = events.Images(f"views/{name}")
        grid = np.asarray(Image.open(BytesIO(event.encoded_image_string)).convert("L"), dtype=float)
        rows = 255 * shown.reshape(8, 8, HEIGHT, WIDTH).permute(0, 2, 1, 3).reshape(8 * HEIGHT, 8 * WIDTH)
        assert np.abs(grid - rows.numpy()).max() <= 1  # eight images in a row, up to one grey level
