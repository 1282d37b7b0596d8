"""The study as one HTML page: verdicts in sentences, the ranking, and the figures."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cam_adv.metrics.intervals import Rate
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.studies.explanation_reliability.claims import TITLES
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig

NAME = "explanation_reliability.html"
CAPTIONS = {
    "explanation_reliability.png": "Effects and intervals of every claim; the band marks what is too small to count.",
    "controls.png": "Dissimilarity to the map of x, under the attack and under every control.",
    "trajectories.png": "Dissimilarity along the attack's path, by latent distance and from the judge's crossing on.",
    "softmax_invariance.png": "The CAM of one class can be changed at will without changing any prediction; the "
    "difference of two classes' CAMs cannot.",
}
"""Figures in the order of the page, by file name; the strips of single paths follow them."""


def write_page(
    config: ReliabilityConfig,
    names: Mapping[str, str],
    content: Mapping[str, Any],
    order: Sequence[str],
    rates: Mapping[str, Mapping[str, Rate]],
    folder: Path,
) -> None:
    """Write `explanation_reliability.html` into a run's folder, whose figures exist already.

    Args:
        names: of the `dataset`, the `victim` and the `attack`.
        content: of the study's JSON: plan, power, known answers, and findings by attribution method.
        order: attribution methods, the most robust first.
        rates: attack → criterion → rate.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    strips = sorted(path.name for path in (folder / "figures").glob("*_to_*.png"))
    captions = CAPTIONS | {name: f"One path: {name.removesuffix('.png').replace('_', ' ')}." for name in strips}
    figures = {f"figures/{name}": text for name, text in captions.items() if (folder / "figures" / name).exists()}
    page = environment.get_template("page.html").render(
        config=config,
        names=names,
        rates=rates,
        titles=TITLES,
        plan=content["plan"],
        power=content["power"],
        arms=content["arms"],
        known=content["meta_evaluation"],
        content=content["attributions"],
        order=order,
        figures=figures,
        number=partial(_shown, "{:.2f}"),
        signed=partial(_shown, "{:+.2f}"),
        percent=partial(_shown, "{:.0%}"),
        area=lambda value: _shown("{:.2f}", None if value is None else 0.5 + value),
    )
    write_atomically(folder / NAME, page)


def _shown(form: str, value: float | None) -> str:
    """A number, or a dash for what was not measured."""
    return "–" if value is None else form.format(value)
