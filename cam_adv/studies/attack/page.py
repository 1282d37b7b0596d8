"""`report.html`: a finished attack as one page that works without a network."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from cam_adv.attacks.trace import evenly_spaced
from cam_adv.data.human_labels import NOTHING
from cam_adv.metrics.evaluation import SAMPLE
from cam_adv.metrics.funnel import success_text, victim_text
from cam_adv.metrics.intervals import Rate
from cam_adv.pages.pictures import QUALITY, sheet, strip
from cam_adv.pages.render import RUN_PAGE, write_page
from cam_adv.plots.filmstrip import RESIDUAL_GAIN
from cam_adv.plots.matrix import MAX_LABELLED_CLASSES
from cam_adv.reports.terminal import lines_of_rates
from cam_adv.runtime.quoting import for_shell, written
from cam_adv.runtime.run_dir import CONFIG, OVERRIDES, read_config
from cam_adv.studies.attack.finished_attack import FinishedAttack
from cam_adv.studies.attack.walks import LARGEST_SIDE

BARS = 10
"""Classes whose probabilities the page shows along one walk; more where the networks answer more."""

GRAY = 128
"""The byte that stands for 0 in a map."""

TERM_WORDS = {
    "J1 victim": "J₁: cross-entropy of the victim",
    "J2 f2": "J₂: cross-entropy of f2",
    "surrogates": "cross-entropy of the proxies",
    "discriminator": "loss of the discriminator",
    "density": "nats below the density of codes",
    "norm": "‖z‖₂",
    "cam": "change of the CAM",
    "k": "k: multiplier of J₁",
}
"""The terms of the objective in words, by their names in files."""


def write_report(run: FinishedAttack) -> None:
    """Write the page into the run's folder.

    Raises:
        UserError: the folder has no config.
    """
    config = read_config(run.folder)
    rates = {
        name: Rate(**value)
        for name, value in run.summary.items()
        if isinstance(value, dict) and value.keys() == {"rate", "low", "high"}
    }
    overrides = run.folder / OVERRIDES
    started = list(OmegaConf.load(overrides)) if overrides.exists() else []
    height, width = run.result.x.shape[2:]
    # An attack on pixels has no target, so that it attempts no pair.
    pairs = run.data.walks.points is not None and len(run.class_names) <= MAX_LABELLED_CLASSES
    write_page(
        "run.html",
        run.folder / RUN_PAGE,
        title=f"{config['attack']['name']} on {config['dataset']['name']}",
        names=run.class_names,
        images=len(run.result),
        success=rates["success"],
        success_words=success_text(run.kind, run.from_samples),
        lines=lines_of_rates(run.kind, rates, run.from_samples),
        accuracy=run.accuracy,
        warnings=run.summary["warnings"],
        matrix=_matrix(run) if pairs else None,
        from_samples=run.from_samples,
        x_words=SAMPLE if run.from_samples else "x",
        has_residual=run.data.walks.residuals is not None,
        has_f2=run.data.walks.f2 is not None,
        has_cam=run.data.walks.cams is not None,
        has_robust=run.data.walks.robust is not None,
        gain=RESIDUAL_GAIN,
        size=f"{width}×{height}",
        reduced=LARGEST_SIDE if max(height, width) > LARGEST_SIDE else None,
        quality=QUALITY,
        config=(run.folder / CONFIG).read_text(encoding="utf-8"),
        repeat=f"cam-adv {written('from', str(run.folder.resolve()))}",
        started=" ".join(["cam-adv", *(for_shell(str(override)) for override in started)]),
        kind=run.kind,
        data=_content(run, config["attack"].get("confidence") if run.kind == "type1" else None),
    )


def _content(run: FinishedAttack, confidence: float | None) -> dict[str, Any]:
    """What the page's script shows: one row for each image with a walk, and the walks in the same order."""
    walks, result = run.data.walks, run.result
    rows = walks.rows
    perceived = result.target if run.kind == "type1" else result.y
    columns = {
        "index": run.index[rows].tolist(),
        "y": result.y[rows].tolist(),
        "target": result.target[rows].tolist(),
        "victim": _rounded(run.victim_probs[rows, result.y[rows]]),
        "judge": _rounded(run.judge_probs[rows, perceived[rows]]),
        "reads": run.judge_reads[rows].tolist(),
        "end": _ends(run),
        "start": result.start[rows].tolist(),
        "step": (result.steps[rows] - result.start[rows] * run.data.steps).tolist(),
        "change": _rounded((result.x_adv - result.x)[rows].flatten(1).norm(dim=1)),
    }
    if run.explained is not None:
        of_x_adv = run.explained[1]
        columns["abstains"] = of_x_adv.abstained[rows].tolist()
    columns["walk"] = [_walk(run, number) for number in range(len(walks))]
    pictures, last = walks.images, torch.arange(len(walks))
    return {
        "kind": run.kind,
        "fromSamples": run.from_samples,
        "names": run.class_names,
        "perceived": "target" if run.kind == "type1" else "y",
        "confidence": confidence,
        "recorded": walks.points is not None,
        "starts": [f"{number}. {name}" for number, name in enumerate(run.data.start_names, start=1)],
        "ends": _end_words(run),
        "sheets": {"x": sheet(_array(pictures[:, 0])), "adv": sheet(_array(pictures[last, walks.lengths - 1]))},
        "rows": [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)],
    }


def _walk(run: FinishedAttack, number: int) -> dict[str, Any]:
    walks = run.data.walks
    row, length = int(walks.rows[number]), int(walks.lengths[number])
    y, target = int(run.result.y[row]), int(run.result.target[row])
    answers = {"victim": walks.victim[number, :length], "judge": walks.judge[number, :length]}
    if walks.f2 is not None:
        answers["f2"] = walks.f2[number, :length]
    reads = walks.judge_reads[number, :length]
    classes = _classes([*answers.values()], [y, target, *reads[reads != NOTHING].tolist()])
    walk: dict[str, Any] = {
        "images": strip(_array(walks.images[number, :length])),
        "classes": classes,
        "answers": {name: (1000 * probs[:, classes]).round().int().tolist() for name, probs in answers.items()},
        "reads": reads.tolist(),
    }
    if walks.residuals is not None:
        walk["residuals"] = strip(_array(walks.residuals[number, :length]))
    walk["maps"] = {}
    if walks.cams is not None:
        cam, of_target = walks.cams[number, :length].unbind(dim=1)
        walk["maps"] |= {"cam": _map_strip(cam), "contrast": _map_strip(cam - of_target)}
    if walks.robust is not None:
        robust = walks.robust[number, :length]
        walk["maps"]["robust"] = _map_strip(robust.nan_to_num())
        walk["abstains"] = robust.isnan().flatten(1).all(dim=1).tolist()
    points = walks.points
    if points is None:
        shares = torch.linspace(0, 1, length)[1:-1].tolist()
        walk["frames"] = ["x", *(f"{share:.0%} of the way" for share in shares), "x′"][:length]
        walk["terms"] = _terms(run, row, list(range(run.result.trace_points)))
        return walk
    chosen = points[: length - 1].tolist()
    steps = evenly_spaced(run.data.steps, run.result.trace_points)
    walk["frames"] = ["x", *(f"step {steps[point]}" for point in chosen[:-1]), "x′"]
    walk["terms"] = _terms(run, row, [*chosen[:-1], int(points[-1])])
    return walk


def _classes(probs: Sequence[Tensor], always: Sequence[int]) -> list[int]:
    """The classes to show of probabilities `(F, K)`: every one that is answered, and the likeliest others."""
    answered = {*always, *(label for one in probs for label in one.argmax(dim=1).tolist())}
    likeliest = torch.cat(list(probs)).amax(dim=0).argsort(descending=True).tolist()
    others = [label for label in likeliest if label not in answered]
    return sorted([*answered, *others[: max(0, BARS - len(answered))]])


def _map_strip(maps: Tensor) -> tuple[str, float]:
    """Signed maps `(F, h, w)` as a strip, and the magnitude that its outermost bytes stand for."""
    scale = float(maps.abs().max()) or 1.0
    return strip((GRAY + (GRAY - 1) * maps / scale).round().byte().numpy(), lossless=True), round(scale, 3)


def _terms(run: FinishedAttack, row: int, points: Sequence[int]) -> dict[str, list[float | None]]:
    """The terms of one image at recorded steps, by their names in words; None where one isn't finite."""
    terms = run.result.terms
    return {
        TERM_WORDS.get(name, name): [_significant(value) for value in terms[name][row, points].tolist()]
        for name in sorted(terms, key=[*TERM_WORDS, *terms].index)
    }


def _significant(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _ends(run: FinishedAttack) -> list[int]:
    """Where each image with a walk left the funnel, as a position in `_end_words`."""
    rows, result = run.data.walks.rows, run.result
    other = (result.y if run.kind == "type1" else result.target)[rows]
    met = (run.data.victim_keeps if run.kind == "type1" else ~run.data.victim_keeps)[rows]
    reads = run.judge_reads[rows]
    end = torch.full_like(rows, 4)
    for number, found in ((3, reads == other), (2, reads == NOTHING), (1, ~met), (0, run.data.success[rows])):
        end[found] = number
    return end.tolist()


def _end_words(run: FinishedAttack) -> list[str]:
    """The ends of the funnel in words: a success, and the first question without the answer that the attack asks."""
    verb, _, rest = victim_text(run.kind, run.from_samples).removeprefix("the victim ").partition(" ")
    return [
        "success",
        f"the victim does not {verb.removesuffix('s')} {rest}",
        "the judge reads nothing",
        "the judge reads y" if run.kind == "type1" else "the judge reads y′",
        "the judge reads another class",
    ]


def _matrix(run: FinishedAttack) -> list[list[tuple[int, int]]]:
    """Successes and attempts of each pair of classes: y → y' → both counts."""
    count = len(run.class_names)
    pair = run.result.y * count + run.result.target
    attempts = torch.bincount(pair, minlength=count**2).tolist()
    successes = torch.bincount(pair[run.data.success], minlength=count**2).tolist()
    cells = list(zip(successes, attempts, strict=True))
    return [cells[start : start + count] for start in range(0, count**2, count)]


def _array(images: Tensor) -> np.ndarray:
    """Images `(n, C, H, W)` uint8 as `(n, H, W)` or `(n, H, W, 3)`."""
    return (images[:, 0] if images.shape[1] == 1 else images.permute(0, 2, 3, 1)).numpy()


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
