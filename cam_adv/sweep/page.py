"""`sweep.html`: a sweep as one page that works without a network, with links to the pages of its jobs."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from safetensors import safe_open

from cam_adv.metrics.summary import AttackSummary
from cam_adv.pages.pictures import QUALITY, sheet
from cam_adv.pages.render import RUN_PAGE, write_page
from cam_adv.plots.style import LOG_SPAN
from cam_adv.sweep.figure import PANELS, distinct_values, find_axis, number_of, panel_rate, panel_titles
from cam_adv.sweep.jobs import Job, Sweep, format_value

NAME = "sweep.html"
IMAGES = 24
"""Images of which the page shows x' under every job."""

RESULTS, ATTACK = "results.csv", "attack.safetensors"

Results = Sequence[tuple[Job, AttackSummary]]


def write_sweep_page(sweep: Sweep) -> None:
    """Write the page of the jobs that have a result into the sweep's folder."""
    results = sweep.results
    jobs = [job for job, _ in results]
    axis = find_axis(jobs, sweep.keys) if len(sweep.keys) <= 2 else None
    other = next((key for key in sweep.keys if key != axis), None) if axis else None
    if axis:
        results = sorted(results, key=lambda one: (_line(jobs, one[0], other), number_of(one[0], axis)))
    write_page(
        NAME,
        sweep.folder / NAME,
        title="Sweep of " + (", ".join(sweep.keys) or "one job"),
        keys=sweep.keys,
        jobs=[_row(sweep, job, summary) for job, summary in results],
        panels=panel_titles(results),
        without=sweep.without_result,
        total=len(sweep.jobs),
        quality=QUALITY,
        axis=axis,
        data={
            "chart": _chart(results, axis, other) if axis else None,
            "jobs": [_assigned(job, sweep.keys) for job, _ in results],
            **_pictures(sweep.folder, [job for job, _ in results]),
        },
    )


def _row(sweep: Sweep, job: Job, summary: AttackSummary) -> dict[str, Any]:
    page = Path(job.folder, RUN_PAGE)
    return {
        "number": job.number,
        "status": job.status,
        "link": quote(page.as_posix()) if (sweep.folder / page).exists() else None,
        "values": [format_value(job.values[key]) if key in job.values else "" for key in sweep.keys],
        "rates": [panel_rate(summary, name) for name in PANELS],
    }


def _assigned(job: Job, keys: Sequence[str]) -> str:
    return ", ".join(f"{key}={format_value(job.values[key])}" for key in keys if key in job.values) or job.folder


def _line(jobs: Sequence[Job], job: Job, other: str | None) -> int:
    """The number of the line that a job belongs to: of its value of the other key."""
    return distinct_values(jobs, other).index(job.values.get(other)) if other else 0


def _chart(results: Results, axis: str, other: str | None) -> dict[str, Any]:
    """Lines over the values of `axis`, one per value of the `other` key, as in `sweep.png`."""
    jobs = [job for job, _ in results]
    places = sorted({number_of(job, axis) for job in jobs})
    return {
        "axis": axis,
        "log": places[0] > 0 and places[-1] > LOG_SPAN * places[0],
        "other": other,
        "lines": [format_value(value) for value in distinct_values(jobs, other)] if other else [],
        "points": [
            {
                "x": number_of(job, axis),
                "line": _line(jobs, job, other),
                "rates": [list(vars(panel_rate(summary, name)).values()) for name in PANELS],
            }
            for job, summary in results
        ],
    }


@dataclass(frozen=True)
class _Attacked:
    """One image under one job. answers: a row of `results.csv`."""

    x: np.ndarray
    x_adv: np.ndarray
    answers: dict[str, str]


def _pictures(sweep: Path, jobs: Sequence[Job]) -> dict[str, Any]:
    """x' of some images under every job, and what was said of it; of those that all jobs have attacked.

    Jobs without pictures, whose files have been removed, have none here.
    """
    of_jobs = [dict(_attacked(sweep / job.folder)) for job in jobs]
    shared = [key for key in of_jobs[0] if all(key in attacked for attacked in of_jobs)]
    if not shared:
        return {"images": []}
    evenly = np.linspace(0, len(shared) - 1, min(len(shared), IMAGES)).round().astype(int)
    chosen = [shared[place] for place in evenly]
    x = [of_jobs[0][key].x for key in chosen]
    x_adv = [attacked[key].x_adv for key in chosen for attacked in of_jobs]
    height, width = x[0].shape[:2]
    return {
        "ratio": f"{width} / {height}",
        "sheets": {"x": sheet(np.stack(x)), "adv": sheet(np.stack(x_adv))},
        "images": [
            {
                "index": answers["index"],
                "y": answers["y"],
                "targets": [attacked[key].answers["target"] for attacked in of_jobs],
                "answers": [_answer(attacked[key].answers) for attacked in of_jobs],
            }
            for key in chosen
            for answers in [of_jobs[0][key].answers]
        ],
    }


def _answer(answers: dict[str, str]) -> tuple[str, float, str, bool]:
    """What the victim says of x' with which probability, what the judge reads, and whether that is a success."""
    said, confidence = answers["victim_x_adv"], float(answers["victim_x_adv_confidence"])
    return said, round(confidence, 3), answers["judge_reads_x_adv"], answers["success"] == "1"


def _attacked(folder: Path) -> Iterator[tuple[tuple[str, str, bytes], _Attacked]]:
    """The images of a job by their index, y and pixels; none where its files have been removed."""
    if not (folder / RESULTS).exists() or not (folder / ATTACK).exists():
        return
    with (folder / RESULTS).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with safe_open(folder / ATTACK, framework="numpy") as tensors:
        x, x_adv = (_to_bytes(tensors.get_tensor(name)) for name in ("x", "x_adv"))
    for row, own_x, own_x_adv in zip(rows, x, x_adv, strict=True):
        yield (row["index"], row["y"], own_x.tobytes()), _Attacked(own_x, own_x_adv, row)


def _to_bytes(images: np.ndarray) -> np.ndarray:
    """Images `(N, C, H, W)` in [0, 1] as `(N, H, W)` or `(N, H, W, 3)` uint8."""
    pixels = (255 * images).round().astype(np.uint8)
    return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)
