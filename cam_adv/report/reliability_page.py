"""The study of explanations as one page: verdicts in sentences, the ranking, and the pictures that show it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cam_adv.evaluation.intervals import Rate
from cam_adv.report.reliability import TITLES
from cam_adv.settings import Settings
from cam_adv.writing import write_whole

NAME = "reliability.html"
CAPTIONS = {
    "reliability.png": "Effects and intervals of every claim; the band marks what is too small to matter.",
    "controls.png": "How far each map moves under the attack, and under everything else that changes a picture.",
    "trajectories.png": "How far maps have moved on the way, by latent distance and from the judge's crossing on.",
    "gauge.png": "CAM of one class can be changed at will without changing any answer; the contrast can't.",
}
"""Pictures in the order of the page; strips of single walks come after them."""


def write_page(
    settings: Settings,
    content: Mapping[str, Any],
    order: Sequence[str],
    rates: Mapping[str, Mapping[str, Rate]],
    folder: Path,
) -> None:
    """Write `reliability.html` into a run's folder, once its figures are there.

    Args:
        content: of `reliability.json`.
        order: explanations, the hardest to fool first.
        rates: attack → question → rate.
    """
    environment = Environment(
        loader=PackageLoader("cam_adv.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    strips = sorted(path.name for path in (folder / "figures").glob("*_to_*.png"))
    captions = CAPTIONS | {name: f"One walk: {name.removesuffix('.png').replace('_', ' ')}." for name in strips}
    shown = {f"figures/{name}": text for name, text in captions.items() if (folder / "figures" / name).exists()}
    page = environment.get_template("reliability_page.html").render(
        plan=settings.reliability,
        dataset=settings.dataset.name,
        victim=settings.model.victim.name,
        attack=settings.attack.name,
        rates=rates,
        titles=TITLES,
        content=content,
        order=order,
        figures=shown,
    )
    write_whole(folder / NAME, page)
