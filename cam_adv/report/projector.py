"""The latent space in TensorBoard's projector: codes of images before and after the attack."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig, SpriteMetadata
from torch.nn import functional

from cam_adv.attack.latent_walk import evenly_spaced
from cam_adv.evaluation.assessment import Assessment
from cam_adv.training.pictures import tiles
from cam_adv.writing import write_whole

IMAGES = 200
"""Whose codes are shown, before and after the attack: enough to see the classes, and a sweep's folder stays small."""

THUMBNAIL = 32  # pixels a side, at most
COLUMNS = ("picture", "class", "target", "judge", "success")


def write_codes(assessment: Assessment, class_names: Sequence[str], folder: Path) -> None:
    """z0 of images from all over the results, then z of their x', with labels and thumbnails, in `projector/`.

    `SummaryWriter.add_embedding` would write them too, in a folder "00000" and with all digits of a float.
    """
    result = assessment.result
    shown = torch.tensor(evenly_spaced(len(result) - 1, IMAGES))
    labels: list[Sequence[str]] = [COLUMNS]
    for picture, opinions in (("x", assessment.on_x), ("x'", assessment.on_x_adv)):
        classes = torch.stack([result.y, result.target, opinions.judge.argmax(dim=1)], dim=1)
        for row, won in zip(classes[shown].tolist(), assessment.verdict.success[shown].tolist(), strict=True):
            labels.append([picture, *(class_names[label] for label in row), "yes" if won else "no"])
    codes = torch.cat([result.z0[shown], result.z[shown]])
    images = torch.cat([result.x[shown], result.x_adv[shown]])
    height, width = (min(side, THUMBNAIL) for side in images.shape[2:])
    sheet = tiles(functional.adaptive_avg_pool2d(images, (height, width)), math.ceil(math.sqrt(len(images))))

    place = folder / "projector"
    place.mkdir(exist_ok=True)
    _write_table([[f"{value:.3f}" for value in code] for code in codes.tolist()], place / "codes.tsv")
    _write_table(labels, place / "labels.tsv")
    pixels = (255 * sheet).round().byte().permute(1, 2, 0).squeeze(2)
    Image.fromarray(pixels.numpy()).save(place / "thumbnails.png")
    codes_of_a_run = EmbeddingInfo(
        tensor_name="codes",
        tensor_path="projector/codes.tsv",
        metadata_path="projector/labels.tsv",
        sprite=SpriteMetadata(image_path="projector/thumbnails.png", single_image_dim=[width, height]),
    )
    config = text_format.MessageToString(ProjectorConfig(embeddings=[codes_of_a_run]))
    write_whole(folder / "projector_config.pbtxt", config)


def _write_table(rows: Iterable[Sequence[str]], path: Path) -> None:
    write_whole(path, "".join("\t".join(row) + "\n" for row in rows))
