"""A sweep ends as one table and one picture: hand-made jobs give exact rows, and a real sweep leaves its own."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Answer, Study, compared, stored
from matplotlib.colors import same_color
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file

from cam_adv.errors import UserError
from cam_adv.evaluation.intervals import Rate
from cam_adv.report.style import COLORS
from cam_adv.sweep import report as sweep_report
from cam_adv.sweep.callback import SweepReport, reported_sweep
from cam_adv.sweep.figure import sweep_figure
from cam_adv.sweep.jobs import Job, Outcome, Sweep, Value, read_sweep
from cam_adv.sweep.record import Record
from cam_adv.sweep.report import report
from cam_adv.sweep.table import rows


def summary(success: float, images: int = 200, seconds: float = 40.0) -> dict:
    """A run's summary: the intervals reach 0.1 below and 0.05 above the rates."""
    rates = {"success": success, "kept": 0.9, "changed": success + 0.02, "success_confident": success / 2}
    figures = {name: {"rate": rate, "low": rate - 0.1, "high": rate + 0.05} for name, rate in rates.items()}
    return {"images": images, "steps": 300, "seconds": seconds, "victim_accuracy": 0.97, **figures}


def make_job(sweep: Path, record: Record, result: dict | None = None) -> Path:
    """A job's folder as a run leaves it."""
    folder = sweep / f"{record.number}_job"
    folder.mkdir(parents=True)
    record.write(folder)
    if result is not None:
        (folder / "summary.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep over two keys: one job ended well, one failed, one was killed; `seed` is the same in all."""
    folder = tmp_path / "a sweep"
    shared = ("seed=3", "+people.note='a, b'")
    make_job(folder, Record(10, ("attack.strength=8", *shared, "attack=tang2018")))
    make_job(folder, Record(2, ("attack.strength=null", *shared, "attack=type1"), "failed", "No luck. Try again."))
    finished = Record(1, ("attack.strength=2.5", *shared, "attack=type1"), "finished")
    make_job(folder, finished, summary(0.5))
    return folder


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestTable:
    def test_has_a_row_for_each_job(self, sweep: Path) -> None:
        report(sweep)
        empty = dict.fromkeys(
            f"{question}{end}"
            for question in ("success", "kept", "changed", "success_confident")
            for end in ("", "_low", "_high")
        ) | dict.fromkeys(["images", "seconds", "successes_per_second"])
        finished = {
            **{"success": 0.5, "success_low": 0.4, "success_high": 0.55},
            **{"kept": 0.9, "kept_low": 0.8, "kept_high": pytest.approx(0.95)},
            **{"changed": 0.52, "changed_low": pytest.approx(0.42), "changed_high": pytest.approx(0.57)},
            **{"success_confident": 0.25, "success_confident_low": 0.15},
            **{"success_confident_high": pytest.approx(0.3)},
            **{"images": 200, "seconds": 40.0, "successes_per_second": 2.5},
        }
        first, second, third = json.loads((sweep / "sweep.json").read_text())
        named = {"folder": "1_job", "status": "finished", "attack.strength": 2.5, "attack": "type1", "reason": None}
        assert first == named | finished
        named = {"folder": "2_job", "status": "failed", "attack.strength": None, "attack": "type1"}
        assert second == named | empty | {"reason": "No luck. Try again."}
        named = {"folder": "10_job", "status": "unfinished", "attack.strength": 8, "attack": "tang2018"}
        assert third == named | empty | {"reason": None}

    def test_is_the_same_as_csv(self, sweep: Path) -> None:
        report(sweep)
        first, second, third = read_csv(sweep)
        assert list(first) == list(json.loads((sweep / "sweep.json").read_text())[0])
        assert (first["success"], first["successes_per_second"], first["reason"]) == ("0.5", "2.5", "")
        assert [row["attack.strength"] for row in (first, second, third)] == ["2.5", "null", "8"]
        assert (second["success"], second["reason"]) == ("", "No luck. Try again.")

    def test_in_the_terminal_tells_failures_first(self, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
        report(sweep)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        (failed,) = (number for number, line in enumerate(lines) if "failed" in line)
        assert lines[failed] == ["2", "null", "type1", "failed", "No", "luck.", "Try", "again."]
        assert lines[failed + 1] == ["10", "8", "tang2018", "unfinished"]
        expected = ["1", "2.5", "type1", "50.0%", "40.0–55.0", "90.0%", "52.0%", "25.0%", "2.5"]
        assert expected in lines[failed + 2 :]

    def test_names_the_swept_key_when_one_job_has_run(self, tmp_path: Path) -> None:
        make_job(tmp_path, Record(0, ("attack.strength=2", "seed=3"), "finished"), summary(0.5))
        planned = "hydra:\n  overrides:\n    task: ['attack.strength=2,4', 'seed=3']\n"
        (tmp_path / "multirun.yaml").write_text(planned)
        assert read_sweep(tmp_path).keys == ("attack.strength",)

    def test_in_the_terminal_shows_brackets(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for number, starts in enumerate(("[mean]", "[nearest]")):
            make_job(tmp_path, Record(number, (f"attack.starts={starts}",), "failed", "Mend [/x]."))
        report(tmp_path)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["1", "[nearest]", "failed", "Mend", "[/x]."] in lines

    def test_takes_no_speed_from_no_time(self, tmp_path: Path) -> None:
        make_job(tmp_path, Record(0, (), "finished"), summary(0.5, seconds=0.0))
        assert rows(read_sweep(tmp_path))[0]["successes_per_second"] is None

    @pytest.mark.parametrize(
        ("override", "value"),
        [
            ("attack.steps=20", 20),
            ("attack.learning_rate=1e-3", 0.001),
            ("attack.keep_best=false", False),
            ("attack.strength=null", None),
            ("model/victim=lenet", "lenet"),
            ("name='two words'", "two words"),
            ("attack.starts=[mean, nearest]", "[mean, nearest]"),
            ("attack.strength=inf", "inf"),
            ("++attack.extra=1", 1),
        ],
    )
    def test_reads_values_as_hydra_does(self, tmp_path: Path, override: str, value: Value) -> None:
        make_job(tmp_path, Record(0, (override,)))
        (job,) = read_sweep(tmp_path).jobs
        ((key, found),) = job.values.items()
        assert key == override.split("=")[0].lstrip("+")
        assert (found, type(found)) == (value, type(value))


def swept(keys: Sequence[str], values: Sequence[Sequence[Value]]) -> Sweep:
    """Finished jobs with these values of the keys; success is 0.1 in the first, 0.2 in the second, and so on."""
    jobs = []
    for number, combination in enumerate(values):
        rates = {"success": (number + 1) / 10, "kept": 0.9, "changed": 0.5, "success_confident": 0.0}
        intervals = {name: Rate(rate, rate - 0.05, rate + 0.02) for name, rate in rates.items()}
        outcome = Outcome("type1", intervals, 100, 1.0)
        values_of = dict(zip(keys, combination, strict=True))
        jobs.append(Job(Path(f"{number}_job"), number, "finished", None, values_of, outcome))
    return Sweep(Path("sweep"), tuple(keys), tuple(jobs))


class TestPicture:
    def test_of_a_number_is_a_line_with_intervals(self) -> None:
        figure = sweep_figure(swept(["attack.strength"], [[8], [2], [4.5]]))
        success, kept, changed = figure.axes
        assert [axes.get_title(loc="left").split(":")[0] for axes in figure.axes] == ["success", "kept", "changed"]
        assert {axes.get_xlabel() for axes in figure.axes} == {"attack.strength"}
        (line,) = (container.lines for container in success.containers)
        assert line[0].get_xydata().tolist() == [[2, 0.2], [4.5, pytest.approx(0.3)], [8, 0.1]]
        ends = [[y for _, y in segment] for segment in line[2][0].get_segments()]
        assert ends == [pytest.approx([low, low + 0.07]) for low in (0.15, 0.25, 0.05)]
        assert success.get_xscale() == "linear"
        assert kept.containers[0].lines[0].get_ydata().tolist() == [0.9] * 3
        assert changed.containers[0].lines[0].get_ydata().tolist() == [0.5] * 3

    @pytest.mark.parametrize(
        ("values", "scale"), [([0.01, 1], "linear"), ([0.01, 0.1, 2], "log"), ([0, 1, 500], "linear")]
    )
    def test_of_more_than_two_decades_is_logarithmic(self, values: list[float], scale: str) -> None:
        figure = sweep_figure(swept(["attack.learning_rate"], [[value] for value in values]))
        assert {axes.get_xscale() for axes in figure.axes} == {scale}

    @pytest.mark.parametrize("values", [["type1", "tang2018", "transition"], [4, 2, None], [True, False, 1]])
    def test_of_names_is_a_point_for_each(self, values: list[Value]) -> None:
        figure = sweep_figure(swept(["attack"], [[value] for value in values]))
        points = figure.axes[0].containers[0].lines[0]
        assert points.get_xydata().tolist() == [[0.1, 0], [0.2, 1], [pytest.approx(0.3), 2]]
        written = {None: "null", True: "true", False: "false"}
        names = [written[value] if value is None or isinstance(value, bool) else str(value) for value in values]
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names

    def test_of_a_number_and_a_name_has_a_line_for_each_name(self) -> None:
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
            (["type1", "type1"], ["success", "kept: the victim says y", "changed: the judge says y'"]),
            (
                ["type2", "type2"],
                ["success", "kept: the judge says y", "changed: the victim says another class than y"],
            ),
            (["type1", "type2"], ["success", "kept", "changed"]),
        ],
    )
    def test_says_what_kept_and_changed_ask(self, kinds: list[str], titles: list[str]) -> None:
        sweep = swept(["attack"], [["one"], ["other"]])
        outcomes = [replace(job.outcome, kind=kind) for job, kind in zip(sweep.jobs, kinds, strict=True)]
        jobs = [replace(job, outcome=outcome) for job, outcome in zip(sweep.jobs, outcomes, strict=True)]
        figure = sweep_figure(replace(sweep, jobs=tuple(jobs)))
        assert [axes.get_title(loc="left") for axes in figure.axes] == titles

    def test_of_two_names_is_a_map_of_success(self) -> None:
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
    def test_of_anything_else_is_a_point_for_each_job(self, keys: list, values: list, labels: list) -> None:
        figure = sweep_figure(swept(keys, values))
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == labels
        assert figure.axes[0].containers[0].lines[0].get_xdata().tolist() == [0.1, 0.2]

    def test_needs_a_result(self) -> None:
        with pytest.raises(ValueError, match="no job"):
            sweep_figure(Sweep(Path(), (), ()))


class TestCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
        monkeypatch.setattr(sys, "argv", ["cam-adv-sweep", str(folder)])
        try:
            sweep_report.main()
        except SystemExit as ending:
            return ending.code
        return 0

    def test_reports_a_half_finished_sweep_and_its_end(self, sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.run(monkeypatch, sweep) == 0
        with Image.open(sweep / "sweep.png") as picture:
            before = picture.size
        assert [row["status"] for row in read_csv(sweep)] == ["finished", "failed", "unfinished"]
        Record(10, ("attack.strength=8", "attack=tang2018"), "finished").write(sweep / "10_job")
        (sweep / "10_job" / "summary.json").write_text(json.dumps(summary(0.75)))
        assert self.run(monkeypatch, sweep) == 0
        assert [row["success"] for row in read_csv(sweep)] == ["0.5", "", "0.75"]
        with Image.open(sweep / "sweep.png") as picture:
            assert picture.format == "PNG"
            assert picture.size != before  # now there are values to draw against
        assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == [
            f"sweep.{ending}" for ending in ("csv", "json", "png")
        ]

    def test_needs_no_picture_where_nothing_was_attacked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number, name in enumerate(("lenet", "mlp")):
            make_job(tmp_path, Record(number, ("stage=victim", f"model/victim={name}"), "finished"))
        assert self.run(monkeypatch, tmp_path) == 0
        assert [(row["model/victim"], row["status"]) for row in read_csv(tmp_path)] == [
            ("lenet", "finished"),
            ("mlp", "finished"),
        ]
        assert not (tmp_path / "sweep.png").exists()
        out = capsys.readouterr().out
        assert "success" not in out
        assert "reason" not in out
        assert [line.split() for line in out.splitlines() if "mlp" in line] == [["1", "mlp", "finished"]]

    @pytest.mark.parametrize("found", ["nothing", "no job", "a broken record", "another record", "a broken summary"])
    def test_says_what_is_wrong_and_what_to_do(
        self, tmp_path: Path, found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sweep = tmp_path / "sweep"
        if found == "no job":
            sweep.mkdir()
        elif found != "nothing":
            job = make_job(sweep, Record(0, ()), {"images": 3} if found == "a broken summary" else None)
            if found == "a broken record":
                (job / "job.json").write_text("{")
            elif found == "another record":
                (job / "job.json").write_text('{"id": 3}')
        assert self.run(monkeypatch, sweep) == 2
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith(f"cam-adv-sweep: {sweep}")
        assert (first[-1], second[-1]) == (".", ".")
        assert not list(tmp_path.glob("**/sweep.*"))

    def test_and_the_callback_start_without_torch(self) -> None:
        code = "import sys, cam_adv.cli, cam_adv.sweep.report; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"

    def test_folder_that_cannot_be_written(self, sweep: Path) -> None:
        (sweep / "sweep.csv").mkdir()
        with pytest.raises(UserError, match=r"sweep\.csv can't be written"):
            report(sweep)


class TestSweep:
    def test_ends_with_its_table(
        self, command: Callable[..., Answer], tiny: list[str], study: Study, tmp_path: Path
    ) -> None:
        """The middle job can't run; Hydra raises its error at the end, and the table is there all the same."""
        sweep = tmp_path / "sweep"
        overrides = ["--multirun", *tiny, f"outputs={study.root / 'outputs'}", f"hydra.sweep.dir={sweep}"]
        answer = command(*overrides, "attack.strength=0.25,-1,0.5")
        assert answer.code == 2, answer.err
        assert "cam-adv: attack.strength=-1" in answer.err
        assert "Traceback" not in answer.err
        first, second, third = read_csv(sweep)
        for row, strength in ((first, "0.25"), (third, "0.5")):
            tensors, bound = load_file(sweep / row["folder"] / "attack.safetensors"), float(strength)
            assert torch.equal(tensors["x"], study.tensors["x"])
            assert (tensors["z"] - tensors["z0"]).norm(dim=1).max() <= bound + 1e-5
            assert (tensors["path"] - tensors["z0"].unsqueeze(1)).norm(dim=2).max() >= 0.9 * bound
            assert (row["status"], row["attack.strength"], row["reason"]) == ("finished", strength, "")
            result = json.loads((sweep / row["folder"] / "summary.json").read_text())
            for question in ("success", "kept", "changed", "success_confident"):
                ends = {"rate": float(row[question]), "low": float(row[f"{question}_low"])}
                assert ends | {"high": float(row[f"{question}_high"])} == result[question]
            assert (row["images"], float(row["seconds"])) == ("12", result["seconds"])
        assert (second["status"], second["attack.strength"], second["success"]) == ("failed", "-1", "")
        assert second["reason"].startswith("attack.strength=-1 can't be used")
        assert not list(sweep.glob("*/traceback.txt"))
        with Image.open(sweep / "sweep.png") as picture:
            assert picture.format == "PNG"
        assert [row["folder"] for row in read_csv(sweep)] == [
            "0_attack.strength=0.25",
            "1_attack.strength=-1",
            "2_attack.strength=0.5",
        ]
        _, _, runs = compared(tmp_path)
        assert {name: run.asked["attack.strength"] for name, run in runs.items()} == {
            "sweep/0_attack.strength=0.25": 0.25,
            "sweep/2_attack.strength=0.5": 0.5,
        }
        told = answer.out[answer.out.index("without an attack's result: 1 of 3 jobs") :]
        assert told.index("attack.strength=-1") < told.index("results: 2 of 3 jobs")
        assert not list(tmp_path.rglob("*.part"))

        assert stored(study.root) == study.store
        again = command(*overrides, "attack.strength=0.25,-1,0.5")
        assert "belongs to another run" in again.err
        assert [row["status"] for row in read_csv(sweep)] == ["finished", "failed", "finished"]

    def test_of_trainings_tells_that_they_ended(
        self, command: Callable[..., Answer], tiny: list[str], tmp_path: Path
    ) -> None:
        swept = ["model.victim.training.epochs=1,2", "stage=victim", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
        answer = command("--multirun", *tiny, *swept)
        assert answer.code == 0, answer.err
        rows = read_csv(tmp_path / "sweep")
        assert [(row["model.victim.training.epochs"], row["status"]) for row in rows] == [
            ("1", "finished"),
            ("2", "finished"),
        ]
        assert not (tmp_path / "sweep" / "sweep.png").exists()

    def test_leaves_single_runs_alone(self, command: Callable[..., Answer], tiny: list[str]) -> None:
        answer = command(*tiny, "stage=victim", "model.victim.training.epochs=1", "hydra.run.dir=run")
        assert answer.code == 0, answer.err
        assert not list(Path().rglob("job.json"))

    def test_that_hydra_refuses_has_no_table(self, command: Callable[..., Answer], tmp_path: Path) -> None:
        answer = command("--multirun", "attack.strenght=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}")
        assert answer.code == 2
        assert "There is no key attack.strenght." in answer.err
        assert "without an attack" not in answer.out


class TestRecords:
    def test_keep_the_traceback_of_what_nobody_foresaw(self, tmp_path: Path) -> None:
        def unlucky() -> float:
            assert Record.read(tmp_path) == Record(2, ("seed=1",), "unfinished")
            raise ZeroDivisionError("no\n  luck")

        with pytest.raises(ZeroDivisionError):
            Record.of(2, ["seed=1", "resume=latest"]).keep(tmp_path, unlucky)
        assert Record.read(tmp_path) == Record(2, ("seed=1",), "failed", "ZeroDivisionError: no luck")
        assert "in unlucky" in (tmp_path / "traceback.txt").read_text()

    def test_a_second_attempt_forgets_how_the_first_one_failed(self, tmp_path: Path) -> None:
        (tmp_path / "traceback.txt").write_text("no luck")
        failed = Record(2, ("seed=1",), "failed", "ZeroDivisionError: no luck")
        assert failed.keep(tmp_path, lambda: 0.25) == 0.25
        assert Record.read(tmp_path) == Record(2, ("seed=1",), "finished", None, 0.25)
        assert not (tmp_path / "traceback.txt").exists()

    def test_are_reported_when_a_person_interrupts(self, tmp_path: Path) -> None:
        def interrupted() -> None:
            asked = {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": ["seed=1,2"]}}
            with reported_sweep():
                SweepReport().on_multirun_start(OmegaConf.create({"hydra": asked}))
                make_job(tmp_path, Record(2, ("seed=1",)))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert [(row["folder"], row["status"]) for row in read_csv(tmp_path)] == [("2_job", "unfinished")]
