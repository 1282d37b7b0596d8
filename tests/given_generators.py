"""Other people's weights, which some tests need: in the folder `CAM_ADV_GENERATORS`, or beside the repository."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("CAM_ADV_GENERATORS", Path(__file__).resolve().parents[2] / "shared" / "generators"))

BURGESS_MNIST = FOLDER / "vae_mnist_burgess.safetensors"
BURGESS_CELEBA = FOLDER / "vae_celeba_burgess.safetensors"
TAEF2_ENCODER, TAEF2_DECODER = (FOLDER / f"taef2_{part}.safetensors" for part in ("encoder", "decoder"))

needs_weights = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"there are no weights in {FOLDER}")
