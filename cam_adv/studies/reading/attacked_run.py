"""The run whose pictures are read: the images and classes that a finished run of `study=attack` has left."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import SAMPLE
from cam_adv.runtime.tensor_files import load_tensors
from cam_adv.schema.fields import Kind
from cam_adv.studies.attack.finished_attack import ATTACK, SUMMARY
from cam_adv.studies.reading.key import PictureKind

SUMMARY_FILE = f"{SUMMARY}.json"
IMAGES: tuple[PictureKind, ...] = ("x_adv", "x", "start_image", "reconstruction")
LABELS = ("y", "target", "judge_reads", "cluster")


@dataclass(frozen=True)
class AttackedRun:
    """A finished attack on N images.

    attack: its kind.
    images: by kind of picture, `(N, C, H, W)` float in [0, 1]; without `start_image` for an attack on pixels.
    y, target: labels and targets, `(N,)`.
    judge_reads: the class that the judge reads in x', −1 for none, `(N,)`.
    cluster: rows with equal numbers share a start and y, `(N,)`.
    """

    attack: Kind
    class_names: tuple[str, ...]
    images: dict[PictureKind, Tensor]
    y: Tensor
    target: Tensor
    judge_reads: Tensor
    cluster: Tensor


def load_attacked_run(folder: Path) -> AttackedRun:
    """Read `attack.safetensors` and `summary.json`.

    Raises:
        UserError: one is missing, can't be read, or lacks what is needed here, as those of earlier versions do.
    """
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        tensors = load_tensors(folder / ATTACK)
    except FileNotFoundError as error:
        raise _unusable(folder, f"has no {SUMMARY_FILE} or no {ATTACK}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise _unusable(folder, f"has a {SUMMARY_FILE} or a {ATTACK} that can't be read") from error
    summary = summary if isinstance(summary, dict) else {}
    optional = {"start_image"}
    missing = [name for name in (*IMAGES, *LABELS) if name not in tensors and name not in optional]
    missing += [name for name in ("class_names", "kind") if name not in summary]
    if missing:
        raise _unusable(folder, f"doesn't tell {', '.join(missing)}")
    if summary.get("x") == SAMPLE:
        raise UserError(
            f"run={folder} attacked samples of the generator, so it has no real images of y to show among others.",
            "Give the folder of an attack on test images.",
        )
    run = AttackedRun(
        attack=summary["kind"],
        class_names=tuple(map(str, summary["class_names"])),
        images={kind: tensors[kind] for kind in IMAGES if kind in tensors},
        **{name: tensors[name] for name in LABELS},
    )
    if not _consistent(run):
        raise _unusable(folder, "has images and labels that don't fit together")
    return run


def _unusable(folder: Path, reason: str) -> UserError:
    return UserError(
        f"run={folder} {reason}, so it is no finished attack whose pictures can be read.",
        "Make one anew with cam-adv, and give its folder.",
    )


def _consistent(run: AttackedRun) -> bool:
    """Whether all shapes are those of the same images, and all labels those of the run's classes."""
    shape, count, classes = run.images["x"].shape, len(run.y), len(run.class_names)
    integers = (run.y, run.target, run.judge_reads, run.cluster)
    return (
        run.attack in ("type1", "type2")
        and len(shape) == 4
        and shape[1] in (1, 3)
        and shape[0] == count > 0
        and all(images.shape == shape and images.is_floating_point() for images in run.images.values())
        and all(values.shape == (count,) and values.dtype == torch.int64 for values in integers)
        and all(int(values.min()) >= 0 and int(values.max()) < classes for values in (run.y, run.target))
        and int(run.judge_reads.min()) >= -1
        and int(run.judge_reads.max()) < classes
    )
