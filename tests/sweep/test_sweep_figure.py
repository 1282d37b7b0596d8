"""The figure of a sweep, read back from hand-made jobs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.colors import same_color

from cam_adv.config.overrides import Value
from cam_adv.metrics.funnel import JUDGE, VICTIM
from cam_adv.metrics.intervals import Rate
from cam_adv.metrics.summary import AttackSummary
from cam_adv.plots.style import COLORS
from cam_adv.sweep.figure import sweep_figure
from cam_adv.sweep.jobs import Job, Sweep

PLAUSIBLE = "plausible: the judge reads a class"


def swept(keys: Sequence[str], values: Sequence[Sequence[Value]]) -> Sweep:
    """Finished jobs with these values of the keys; success is 0.1 in the first, 0.2 in the second, and so on."""
    jobs = []
    for number, combination in enumerate(values):
        rates = {
            "attempted": 1.0,
            "victim_keeps": 0.9,
            "plausible": 0.7,
            "judge_reads_target": 0.5,
            "success": (number + 1) / 10,
            "judge_reads_source": 0.2,
            "judge_reads_nothing": 0.3,
        }
        intervals = {name: Rate(rate, rate - 0.05, rate + 0.02) for name, rate in rates.items()}
        summary = AttackSummary("type1", intervals, 100, 1.0)
        assigned = dict(zip(keys, combination, strict=True))
        jobs.append(Job(Path(f"{number}_job"), number, "finished", None, assigned, summary))
    return Sweep(Path("sweep"), tuple(keys), tuple(jobs))


class TestSweepFigure:
    def test_numeric_key_gives_lines_with_intervals(self) -> None:
        figure = sweep_figure(swept(["attack.strength"], [[8], [2], [4.5]]))
        success, victim, plausible, judge = figure.axes
        titles = ["success", VICTIM["type1"], PLAUSIBLE, JUDGE["type1"]]
        assert [axes.get_title(loc="left") for axes in figure.axes] == titles
        assert {axes.get_xlabel() for axes in figure.axes} == {"attack.strength"}
        (line,) = (container.lines for container in success.containers)
        assert line[0].get_xydata().tolist() == [[2, 0.2], [4.5, pytest.approx(0.3)], [8, 0.1]]
        ends = [[y for _, y in segment] for segment in line[2][0].get_segments()]
        assert ends == [pytest.approx([low, low + 0.07]) for low in (0.15, 0.25, 0.05)]
        assert success.get_xscale() == "linear"
        assert victim.containers[0].lines[0].get_ydata().tolist() == [0.9] * 3
        assert plausible.containers[0].lines[0].get_ydata().tolist() == [0.7] * 3
        assert judge.containers[0].lines[0].get_ydata().tolist() == [0.5] * 3

    @pytest.mark.parametrize("keys", [["attack.strength"], ["attack"]])
    def test_panels_of_type2_show_what_it_asks_for(self, keys: list[str]) -> None:
        """The victim leaves y in a tenth, with the interval turned round; the judge reads y in a fifth."""
        sweep = swept(keys, [[1], [2]] if keys == ["attack.strength"] else [["one"], ["other"]])
        jobs = tuple(replace(job, summary=replace(job.summary, kind="type2")) for job in sweep.jobs)
        _, victim, plausible, judge = sweep_figure(replace(sweep, jobs=jobs)).axes
        along = 1 if keys == ["attack.strength"] else 0
        for axes, expected in ((victim, 0.1), (plausible, 0.7), (judge, 0.2)):
            points = axes.containers[0].lines[0].get_xydata()[:, along]
            assert points.tolist() == pytest.approx([expected] * 2)
        ends = [[point[along] for point in bar] for bar in victim.containers[0].lines[2][0].get_segments()]
        assert ends == [pytest.approx([0.08, 0.15])] * 2

    @pytest.mark.parametrize(
        ("values", "scale"), [([0.01, 1], "linear"), ([0.01, 0.1, 2], "log"), ([0, 1, 500], "linear")]
    )
    def test_scale_is_logarithmic_only_above_two_positive_decades(self, values: list[float], scale: str) -> None:
        figure = sweep_figure(swept(["attack.learning_rate"], [[value] for value in values]))
        assert {axes.get_xscale() for axes in figure.axes} == {scale}

    @pytest.mark.parametrize("values", [["type1", "tang2018", "transition"], [4, 2, None], [True, False, 1]])
    def test_key_with_names_gives_one_point_per_value(self, values: list[Value]) -> None:
        figure = sweep_figure(swept(["attack"], [[value] for value in values]))
        points = figure.axes[0].containers[0].lines[0]
        assert points.get_xydata().tolist() == [[0.1, 0], [0.2, 1], [pytest.approx(0.3), 2]]
        written = {None: "null", True: "true", False: "false"}
        names = [written[value] if value is None or isinstance(value, bool) else str(value) for value in values]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names

    def test_number_and_name_give_one_line_per_name(self) -> None:
        values = [["b", 1], ["b", 2], ["a", 2], ["a", 1]]
        figure = sweep_figure(swept(["attack", "attack.strength"], values))
        lines = [container.lines[0] for container in figure.axes[0].containers]
        assert [line.get_xydata().tolist() for line in lines] == [
            [[1, 0.1], [2, 0.2]],
            [[1, 0.4], [2, pytest.approx(0.3)]],
        ]
        assert all(same_color(line.get_color(), color) for line, color in zip(lines, COLORS, strict=False))
        (legend,) = figure.legends
        assert (legend.get_title().get_text(), [text.get_text() for text in legend.get_texts()]) == (
            "attack",
            ["b", "a"],
        )

    @pytest.mark.parametrize(
        ("kinds", "titles"),
        [
            (["type1", "type1"], ["success", "the victim keeps y", PLAUSIBLE, "the judge reads y'"]),
            (["type2", "type2"], ["success", "the victim leaves y", PLAUSIBLE, "the judge reads y"]),
            (["type1", "type2"], ["success", "the victim does as asked", "plausible", "the judge reads as asked"]),
        ],
    )
    def test_titles_are_questions_of_the_kind_of_attack(self, kinds: list[str], titles: list[str]) -> None:
        sweep = swept(["attack"], [["one"], ["other"]])
        summaries = [replace(job.summary, kind=kind) for job, kind in zip(sweep.jobs, kinds, strict=True)]
        jobs = [replace(job, summary=summary) for job, summary in zip(sweep.jobs, summaries, strict=True)]
        figure = sweep_figure(replace(sweep, jobs=tuple(jobs)))
        assert [axes.get_title(loc="left") for axes in figure.axes] == titles

    def test_two_keys_with_names_give_heat_map_of_success(self) -> None:
        values = [["type1", "lenet"], ["type1", "mlp"], ["tang2018", "mlp"]]
        figure = sweep_figure(swept(["attack", "model/victim"], values))
        axes = figure.axes[0]
        assert axes.images[0].get_array().tolist() == [[0.1, 0.2], [None, pytest.approx(0.3)]]
        assert axes.images[0].get_clim() == (0, 1)
        assert [text.get_text() for text in axes.texts] == ["10%\n5–12", "20%\n15–22", "30%\n25–32"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["type1", "tang2018"]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["lenet", "mlp"]

    @pytest.mark.parametrize(
        ("keys", "values", "labels"),
        [
            (["a", "b", "c"], [[1, "x", 2], [1, "y", 3]], ["1, x, 2", "1, y, 3"]),
            (["a", "b"], [["x", "y"], ["x", "y"]], ["x, y", "x, y"]),
            (["a"], [[1], [1]], ["1", "1"]),
            ([], [[], []], ["0_job", "1_job"]),
        ],
    )
    def test_other_keys_give_one_point_per_job(self, keys: list, values: list, labels: list) -> None:
        figure = sweep_figure(swept(keys, values))
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == labels
        assert figure.axes[0].containers[0].lines[0].get_xdata().tolist() == [0.1, 0.2]

    def test_no_result_raises(self) -> None:
        with pytest.raises(ValueError, match="no job"):
            sweep_figure(Sweep(Path(), (), ()))
