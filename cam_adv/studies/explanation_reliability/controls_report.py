"""How much maps change under the attack and under each control, side by side."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from cam_adv.plots.style import HEADING_SIZE
from cam_adv.reports.console import new_table, print_table
from cam_adv.studies.explanation_reliability.measurements import DISSIMILARITY, Measurements, concatenate

Dissimilarities = dict[str, dict[str, float]]
"""Comparison → attribution method → mean dissimilarity to the map of x."""


def mean_dissimilarities(
    measurements: Sequence[Mapping[str, Measurements]], attributions: Iterable[str]
) -> Dissimilarities:
    """Means over the usable rows of all victims: first the attack's, then each control's."""
    means: Dissimilarities = {}
    for name in attributions if measurements else ():
        rows = concatenate([measured[name].rows for measured in measurements])
        for column, values in rows.items():
            if column.startswith(DISSIMILARITY):
                means.setdefault(column.removeprefix(DISSIMILARITY), {})[name] = values.double().nanmean().item()
    return means


def print_dissimilarities(means: Dissimilarities) -> None:
    """A line for each comparison, a column for each attribution method."""
    title = "dissimilarity to the map of x (1 − centred cosine: 0 unchanged, 1 uncorrelated)"
    table = new_table(title, compact=True)
    table.add_column("comparison", no_wrap=True)
    for name in next(iter(means.values()), ()):
        table.add_column(name.replace("_", "\n"), justify="right")
    for comparison, by_attribution in means.items():
        table.add_row(comparison, *(f"{value:.2f}" for value in by_attribution.values()))
    print_table(table)


def dissimilarities_figure(means: Dissimilarities) -> Figure:
    """The same table as a heat map, darker where a map is less similar to that of x."""
    comparisons, names = list(means), list(next(iter(means.values()), ()))
    values = np.array([[means[comparison][name] for name in names] for comparison in comparisons])
    figure = Figure(figsize=(0.62 * len(names) + 1.6, 0.24 * len(comparisons) + 1.3), layout="constrained")
    heading = "Dissimilarity to the map of x, under the attack and under each control"
    figure.suptitle(heading, size=HEADING_SIZE, weight="bold", x=0.01, ha="left")
    axes = figure.add_subplot()
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1.5, aspect="auto")
    for row, column in np.ndindex(values.shape):
        color = "white" if values[row, column] > 0.9 else "black"
        axes.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", size=6.5, color=color)
    axes.set_yticks(range(len(comparisons)), comparisons, size=7)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names], size=6.5)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.axhline(0.5, color="white", linewidth=3)
    return figure
