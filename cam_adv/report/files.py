"""The files of a run that other programs read: `summary.json`, `results.csv`, `attack.safetensors`."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import Any

from torch import Tensor

from cam_adv.attack.result import save_tensors
from cam_adv.evaluation.assessment import Assessment
from cam_adv.evaluation.intervals import Rate, wilson
from cam_adv.evaluation.questions import JUDGED
from cam_adv.run_folder import CONFIG, check_resumable
from cam_adv.writing import write_whole


def claim(folder: Path, config: str) -> None:
    """Take a run folder for this run alone by writing its resolved config, or go on in it where that says `resume`.

    Raises:
        UserError: another run has it.
    """
    if (folder / CONFIG).exists():
        check_resumable(folder, config)
    else:
        write_whole(folder / CONFIG, config)


def rates(assessment: Assessment) -> dict[str, Rate]:
    """How often each question of the verdict was answered with yes, with Wilson 95% intervals.

    Beside the four of the verdict: `changed_f2` is what f2, which latent attacks optimise, says of "changed", and
    `changed_<member>` what each member of the judge says. Of a Type II attack they are `kept_…`: there the judge is
    asked whether the picture was kept.
    """
    opinions, seen, question = assessment.on_x_adv, assessment.to_be_seen, JUDGED[assessment.kind]
    answers = dict(vars(assessment.verdict))
    answers[f"{question}_f2"] = opinions.f2.argmax(dim=1) == seen
    for number, name in enumerate(opinions.member_names):
        answers[f"{question}_{name}"] = opinions.members[:, number].argmax(dim=1) == seen
    return {name: wilson(int(answer.sum()), len(answer)) for name, answer in answers.items()}


def summary(rates: dict[str, Rate], figures: dict[str, Any]) -> dict[str, Any]:
    """What `summary.json` holds: the figures of the run, then the rates as `rate`, `low`, `high`."""
    return figures | {name: asdict(rate) for name, rate in rates.items()}


def write_summary(content: dict[str, Any], path: Path) -> None:
    write_whole(path, json.dumps(content, indent=2) + "\n")


def write_results(
    assessment: Assessment, index: Tensor, starts: Sequence[str], class_names: Sequence[str], path: Path
) -> None:
    """One row for each attacked image: labels by name, confidences in [0, 1], distances of codes and of pictures."""
    result = assessment.result
    distance = (result.z - result.z0).norm(dim=1)
    opinions = {
        "x": assessment.on_x,
        "reconstruction": assessment.on_reconstruction,
        "x_adv": assessment.on_x_adv,
    }
    rows = []
    for row in range(len(result)):
        cells: dict[str, Any] = {
            "index": int(index[row]),
            "y": class_names[result.y[row]],
            "target": class_names[result.target[row]],
            "start": starts[result.start[row]],
            "steps": int(result.steps[row]),
            "diverged": int(result.diverged[row]),
            "distance": f"{float(distance[row]):.4f}",
        }
        for picture, opinion in opinions.items():
            for who in ("victim", "judge", "f2"):
                confidence, label = getattr(opinion, who)[row].max(dim=0)
                cells[f"{who}_{picture}"] = class_names[label]
                cells[f"{who}_{picture}_confidence"] = f"{float(confidence):.6f}"
        cells |= {name: f"{float(values[row]):.6f}" for name, values in vars(assessment.distances).items()}
        cells |= {question: int(answer[row]) for question, answer in vars(assessment.verdict).items()}
        rows.append(cells)
    text = StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def write_attack(assessment: Assessment, index: Tensor, path: Path) -> None:
    """All tensors of the attack, failures included; names without a suffix speak of x'."""
    tensors = assessment.result.tensors() | {
        "index": index,
        "victim_probs": assessment.on_x_adv.victim,
        "victim_probs_x": assessment.on_x.victim,
        "victim_probs_reconstruction": assessment.on_reconstruction.victim,
        "judge_probs": assessment.on_x_adv.judge,
        "judge_probs_x": assessment.on_x.judge,
        "judge_probs_reconstruction": assessment.on_reconstruction.judge,
        "judge_member_probs": assessment.on_x_adv.members,
        "f2_probs": assessment.on_x_adv.f2,
    }
    tensors |= {f"distance_{name}": values for name, values in vars(assessment.distances).items()}
    if assessment.on_x.cam is not None and assessment.on_x_adv.cam is not None:
        tensors |= {"cam_x": assessment.on_x.cam, "cam_x_adv": assessment.on_x_adv.cam}
    save_tensors(tensors, path)
