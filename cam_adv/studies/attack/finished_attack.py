"""What a finished run of the study `attack` has left, as far as its figures show it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.errors import UserError
from cam_adv.metrics.evaluation import SAMPLE
from cam_adv.plots.curves import TrainingCurves
from cam_adv.plots.filmstrip import Frame
from cam_adv.plots.interpretation import ShownExplanation
from cam_adv.runtime.tensor_files import load_metadata, load_tensors, save_tensors
from cam_adv.schema.fields import Kind
from cam_adv.studies.attack.explanations import shown_explanations
from cam_adv.studies.attack.walks import Walks

ATTACK = "attack.safetensors"
SUMMARY = "summary"
"""Name of the study's result file, which sweeps read; other studies use their own names."""

FIGURES = "figures.safetensors"
ABOUT = "about"
"""Key of the metadata of that file: JSON."""

WALKS = "walks "
"""Prefix of the names of the walks in that file."""

ACCURACY = "_accuracy"
"""End of the names of accuracies on test images in the summary."""

PREDICTIONS = ("victim_label", "victim_confidence", "judge_label", "judge_confidence")


@dataclass(frozen=True)
class Example:
    """The trajectory of an example pair: x, then the frames up to x'."""

    y: int
    target: int
    frames: list[Frame]


@dataclass(frozen=True)
class FigureData:
    """What the figures show beside the other files, written to `figures.safetensors`.

    success, victim_keeps: `(N,)` bool; see `AttackVerdict`.
    steps: the largest number of steps from each start.
    start_names: see `Attack.start_names`.
    every_pair: whether every ordered pair of classes was attacked equally often.
    trainings: losses of the models that the run used, by their titles.
    """

    examples: list[Example]
    success: Tensor
    victim_keeps: Tensor
    steps: int
    start_names: list[str]
    every_pair: bool
    trainings: TrainingCurves
    walks: Walks

    def write(self, folder: Path) -> None:
        """Write the file into the run's folder."""
        tensors = {"success": self.success, "victim_keeps": self.victim_keeps}
        tensors |= {f"{WALKS}{name}": value for name, value in vars(self.walks).items() if value is not None}
        for number, example in enumerate(self.examples):
            tensors |= {f"{number} {name}": of for name, of in _to_tensors(example.frames).items()}
        about = {
            "steps": self.steps,
            "start_names": self.start_names,
            "every_pair": self.every_pair,
            "trainings": self.trainings,
            "examples": [
                {"y": one.y, "target": one.target, "captions": [frame.caption for frame in one.frames]}
                for one in self.examples
            ],
        }
        save_tensors(tensors, folder / FIGURES, {ABOUT: json.dumps(about)})

    @classmethod
    def read(cls, folder: Path) -> "FigureData":
        """The inverse of `write`."""
        tensors, about = load_tensors(folder / FIGURES), json.loads(load_metadata(folder / FIGURES)[ABOUT])
        examples = [
            Example(one["y"], one["target"], _to_frames(one["captions"], tensors, f"{number} "))
            for number, one in enumerate(about["examples"])
        ]
        walks = {name.removeprefix(WALKS): of for name, of in tensors.items() if name.startswith(WALKS)}
        return cls(
            examples,
            tensors["success"],
            tensors["victim_keeps"],
            about["steps"],
            about["start_names"],
            about["every_pair"],
            about["trainings"],
            Walks(**walks),
        )


@dataclass(frozen=True)
class FinishedAttack:
    """A finished run on N images.

    accuracy: of the networks on test images, by their names.
    index: of the images in the test set, or of the samples, `(N,)`.
    victim_probs, judge_probs: for x', `(N, K)`. judge_reads: in x', `(N,)`.
    generated: G(z), `(N, C, H, W)`; None for an attack without codes.
    summary: the content of `summary.json`.
    explained: what a robust interpretation shows of x and of x'; None of a run without one.
    """

    folder: Path
    kind: Kind
    from_samples: bool
    class_names: tuple[str, ...]
    accuracy: Mapping[str, float]
    result: AttackResult
    index: Tensor
    victim_probs: Tensor
    judge_probs: Tensor
    judge_reads: Tensor
    generated: Tensor | None
    summary: Mapping[str, Any]
    explained: tuple[ShownExplanation, ShownExplanation] | None
    data: FigureData

    @classmethod
    def load(cls, folder: Path) -> "FinishedAttack":
        """Read the files in a run's folder.

        Raises:
            UserError: one is missing or can't be read.
        """
        try:
            summary: dict[str, Any] = json.loads((folder / f"{SUMMARY}.json").read_text(encoding="utf-8"))
            tensors, data = load_tensors(folder / ATTACK), FigureData.read(folder)
            return cls(
                folder,
                summary["kind"],
                summary.get("x") == SAMPLE,
                tuple(summary["class_names"]),
                {key.removesuffix(ACCURACY): value for key, value in summary.items() if key.endswith(ACCURACY)},
                AttackResult.from_tensors(tensors),
                tensors["index"],
                tensors["victim_probs"],
                tensors["judge_probs"],
                tensors["judge_reads"],
                tensors.get("generated"),
                summary,
                shown_explanations(tensors),
                data,
            )
        except FileNotFoundError as error:
            reason = f"lacks {SUMMARY}.json, {ATTACK} or {FIGURES}: it is no finished attack, or had figures=false"
            raise _unusable(folder, reason) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise _unusable(folder, f"has a {SUMMARY}.json, {ATTACK} or {FIGURES} that can't be used") from error


def _unusable(folder: Path, reason: str) -> UserError:
    return UserError(f"run={folder} {reason}.", "Make one anew with cam-adv figures=later, and give its folder.")


def _to_tensors(frames: list[Frame]) -> dict[str, Tensor]:
    """The frames without their captions; G(z) of those that have it, which are the last ones."""
    tensors = {name: torch.tensor([getattr(frame, name) for frame in frames]) for name in PREDICTIONS}
    tensors["image"] = torch.stack([frame.image for frame in frames])
    for name in ("cam", "generated"):
        if of := [getattr(frame, name) for frame in frames if getattr(frame, name) is not None]:
            tensors[name] = torch.stack(of)
    return tensors


def _to_frames(captions: list[str], tensors: Mapping[str, Tensor], prefix: str) -> list[Frame]:
    """The inverse of `_to_tensors`."""
    predictions = {name: tensors[prefix + name].tolist() for name in PREDICTIONS}
    optional: dict[str, list[Tensor | None]] = {}
    for name in ("cam", "generated"):
        own = list(tensors.get(prefix + name, torch.empty(0)))
        optional[name] = [None] * (len(captions) - len(own)) + own
    return [
        Frame(
            image=image,
            caption=caption,
            **{name: of[number] for name, of in (predictions | optional).items()},
        )
        for number, (image, caption) in enumerate(zip(tensors[prefix + "image"], captions, strict=True))
    ]
