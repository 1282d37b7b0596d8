"""The data files of an attack: the rates of `summary.json`, `results.csv` and `attack.safetensors`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.metrics.funnel import ATTEMPTED
from cam_adv.metrics.intervals import Rate, clustered_rate
from cam_adv.models.judge import reading_text
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.runtime.csv_text import csv_text
from cam_adv.runtime.tensor_files import save_tensors


def attack_rates(evaluation: AttackEvaluation, start_names: Sequence[str]) -> dict[str, Rate]:
    """How often each question of the verdict has the answer yes, over all attempted images.

    The 95% intervals are for images that depend on each other by their start (`AttackEvaluation.cluster`). Beside the
    verdict: `attempted`, which is 1; `f2_reads_perceived`, what f2, which latent attacks optimise, would say as the
    judge; of an attack with a residual `generated_reads_perceived`, what the judge reads in G(z) without it; of an
    attack with several starts `success_from_<start>`, over the results of each.

    Args:
        start_names: see `Attack.start_names`.
    """
    met = dict(vars(evaluation.verdict))
    met["f2_reads_perceived"] = evaluation.on_x_adv.f2.argmax(dim=1) == evaluation.perceived_label
    if evaluation.generated_reads is not None:
        met["generated_reads_perceived"] = evaluation.generated_reads == evaluation.perceived_label
    cluster = evaluation.cluster
    rates = {"attempted": ATTEMPTED}
    rates |= {name: clustered_rate(one.tolist(), cluster.tolist()) for name, one in met.items()}
    names = sorted(set(start_names))
    for name in names if len(names) > 1 else []:
        numbers = torch.tensor([number for number, one in enumerate(start_names) if one == name])
        rows = torch.isin(evaluation.result.start, numbers)
        if rows.any():
            met_from = evaluation.verdict.success[rows].tolist()
            rates[f"success_from_{name}"] = clustered_rate(met_from, cluster[rows].tolist())
    return rates


def rates_to_json(rates: Mapping[str, Rate]) -> dict[str, Any]:
    """Each rate as a mapping of `rate`, `low` and `high`."""
    return {name: asdict(rate) for name, rate in rates.items()}


DIGITS = {"distance": 4}
"""Digits after the point in `results.csv`, where they are not six."""


def write_results(
    evaluation: AttackEvaluation, index: Tensor, start_names: Sequence[str], class_names: Sequence[str], path: Path
) -> None:
    """Write `result_rows` as CSV."""
    rows = [
        {name: f"{cell:.{DIGITS.get(name, 6)}f}" if isinstance(cell, float) else cell for name, cell in row.items()}
        for row in result_rows(evaluation, index, start_names, class_names)
    ]
    write_atomically(path, csv_text(rows))


def result_rows(
    evaluation: AttackEvaluation, index: Tensor, start_names: Sequence[str], class_names: Sequence[str]
) -> list[dict[str, object]]:
    """One row for each attacked image: classes by name, confidences in [0, 1], distances of codes and images.

    The columns about x end with `_x`; with `_sample` where it is a sample of y' (`AttackEvaluation.from_samples`).

    Args:
        index: of the images in the test set, or of the samples, `(N,)`.
        start_names: see `Attack.start_names`.
    """
    result, distance, residual = evaluation.result, evaluation.latent_distance, evaluation.residual
    cluster = evaluation.cluster
    predictions = {
        "sample" if evaluation.from_samples else "x": evaluation.on_x,
        "reconstruction": evaluation.on_reconstruction,
        "x_adv": evaluation.on_x_adv,
    }
    rows = []
    for row in range(len(result)):
        cells: dict[str, object] = {
            "index": int(index[row]),
            "y": class_names[int(result.y[row])],
            "target": class_names[int(result.target[row])],
            "cluster": int(cluster[row]),
            "start": start_names[int(result.start[row])],
            "steps": int(result.steps[row]),
            "diverged": int(result.diverged[row]),
            "distance": float(distance[row]),
        }
        for image, one in predictions.items():
            for name, probs in (("victim", one.victim), ("judge", one.judge), ("f2", one.f2)):
                confidence, label = probs[row].max(dim=0)
                cells[f"{name}_{image}"] = class_names[int(label)]
                cells[f"{name}_{image}_confidence"] = float(confidence)
            cells[f"judge_reads_{image}"] = reading_text(int(one.judge_reads[row]), class_names)
            cells[f"plausibility_{image}"] = float(one.plausibility[row])
        cells |= {name: float(values[row]) for name, values in vars(evaluation.distances).items()}
        if residual is not None:
            cells["residual"] = float(residual[row].norm())
        cells |= {criterion: int(met[row]) for criterion, met in vars(evaluation.verdict).items()}
        rows.append(cells)
    return rows


def write_attack(
    evaluation: AttackEvaluation, index: Tensor, path: Path, explanations: Mapping[str, Tensor] | None = None
) -> None:
    """Write all tensors of the attack, failures included; names without a suffix are of x'.

    Args:
        index: of the images in the test set, or of the samples, `(N,)`.
        explanations: further tensors by their names.
    """
    tensors = evaluation.result.tensors() | {
        "z0": evaluation.on_x.codes,
        "z": evaluation.on_x_adv.codes,
        "index": index,
        "victim_probs": evaluation.on_x_adv.victim,
        "victim_probs_x": evaluation.on_x.victim,
        "victim_probs_reconstruction": evaluation.on_reconstruction.victim,
        "judge_probs": evaluation.on_x_adv.judge,
        "judge_reads": evaluation.on_x_adv.judge_reads,
        "plausibility": evaluation.on_x_adv.plausibility,
        "reconstruction": evaluation.reconstruction,
        "cluster": evaluation.cluster,
        "judge_probs_x": evaluation.on_x.judge,
        "judge_probs_reconstruction": evaluation.on_reconstruction.judge,
        "judge_member_probs": evaluation.on_x_adv.members,
        "f2_probs": evaluation.on_x_adv.f2,
    }
    tensors |= {f"distance_{name}": values for name, values in vars(evaluation.distances).items()}
    if evaluation.on_x.cam is not None and evaluation.on_x_adv.cam is not None:
        tensors |= {"cam_x": evaluation.on_x.cam, "cam_x_adv": evaluation.on_x_adv.cam}
    if evaluation.start_image is not None and evaluation.generated is not None:
        tensors |= {"start_image": evaluation.start_image, "generated": evaluation.generated}
    save_tensors(tensors | dict(explanations or {}), path)
