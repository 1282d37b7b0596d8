"""Other people's weights, which some tests need, in the folder that the variable CAM_ADV_GENERATORS names."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("CAM_ADV_GENERATORS", "CAM_ADV_GENERATORS is not set"))

BURGESS_MNIST = FOLDER / "vae_mnist_burgess.safetensors"
BURGESS_CELEBA = FOLDER / "vae_celeba_burgess.safetensors"
TAEF2_ENCODER, TAEF2_DECODER = (FOLDER / f"taef2_{part}.safetensors" for part in ("encoder", "decoder"))


def needs(*files: Path) -> pytest.MarkDecorator:
    """Skip a test where one of these files is missing."""
    missing = [str(file) for file in files if not file.is_file()]
    return pytest.mark.skipif(bool(missing), reason=f"missing: {', '.join(missing)}")
