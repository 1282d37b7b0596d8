"""The latent space in TensorBoard's projector: codes of images before and after the attack."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig, SpriteMetadata
from torch.nn import functional
from torchvision.utils import make_grid

from cam_adv.attacks.trace import evenly_spaced
from cam_adv.metrics.evaluation import SAMPLE, AttackEvaluation
from cam_adv.models.judge import reading_text
from cam_adv.runtime.atomic_files import write_atomically

IMAGES = 200
"""How many images' codes are shown, before and after the attack: enough to see the classes, and small on disk."""

THUMBNAIL = 32
"""Largest side of a thumbnail, in pixels."""

COLUMNS = ("picture", "class", "target", "judge", "success")


def write_codes(evaluation: AttackEvaluation, class_names: Sequence[str], folder: Path) -> None:
    """Write z0 of evenly spaced rows of the results, then z of their x', with labels and thumbnails, to `projector/`.

    `SummaryWriter.add_embedding` would write them to a folder "00000", with all digits of a float.
    """
    result = evaluation.result
    shown = torch.tensor(evenly_spaced(len(result) - 1, IMAGES))
    labels: list[Sequence[str]] = [COLUMNS]
    before = SAMPLE if evaluation.from_samples else "x"
    for image, predictions in ((before, evaluation.on_x), ("x'", evaluation.on_x_adv)):
        columns = result.y, result.target, predictions.judge_reads, evaluation.verdict.success
        for y, target, reading, success in zip(*(column[shown].tolist() for column in columns), strict=True):
            classes = class_names[y], class_names[target], reading_text(reading, class_names)
            labels.append([image, *classes, "yes" if success else "no"])
    codes = torch.cat([evaluation.on_x.codes[shown], evaluation.on_x_adv.codes[shown]])
    images = torch.cat([result.x[shown], result.x_adv[shown]])
    height, width = (min(side, THUMBNAIL) for side in images.shape[2:])
    thumbnails = functional.adaptive_avg_pool2d(images, (height, width))
    sprite = make_grid(thumbnails, nrow=math.ceil(math.sqrt(len(images))), padding=0)

    projector = folder / "projector"
    projector.mkdir(exist_ok=True)
    _write_table([[f"{value:.3f}" for value in code] for code in codes.tolist()], projector / "codes.tsv")
    _write_table(labels, projector / "labels.tsv")
    pixels = (255 * sprite).round().byte().permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(projector / "thumbnails.png")
    embedding = EmbeddingInfo(
        tensor_name="codes",
        tensor_path="projector/codes.tsv",
        metadata_path="projector/labels.tsv",
        sprite=SpriteMetadata(image_path="projector/thumbnails.png", single_image_dim=[width, height]),
    )
    config = text_format.MessageToString(ProjectorConfig(embeddings=[embedding]))
    write_atomically(folder / "projector_config.pbtxt", config)


def _write_table(rows: Iterable[Sequence[str]], path: Path) -> None:
    write_atomically(path, "".join("\t".join(row) + "\n" for row in rows))
