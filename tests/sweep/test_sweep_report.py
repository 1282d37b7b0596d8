"""The report of a sweep: exact rows from hand-made jobs, and the files of real sweeps."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import AttackRun, CommandResult, read_hparams, stored_models
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file

from cam_adv.config.overrides import Value
from cam_adv.errors import UserError
from cam_adv.metrics.funnel import QUESTIONS
from cam_adv.sweep import report as sweep_report
from cam_adv.sweep.callback import OutputFolder, report_on_exit
from cam_adv.sweep.jobs import read_sweep
from cam_adv.sweep.record import JobRecord
from cam_adv.sweep.report import report
from cam_adv.sweep.table import rows


def summary(success: float, images: int = 200, seconds: float = 40.0) -> dict:
    """The summary of a run of kind type1, with intervals from 0.1 below to 0.05 above the rates."""
    rates = {"attempted": 1.0, "victim_keeps": 0.9, "plausible": 0.7, "judge_reads_target": success + 0.02}
    rates |= {"success": success, "judge_reads_source": 0.125, "judge_reads_nothing": 0.3}
    intervals = {name: {"rate": rate, "low": rate - 0.1, "high": rate + 0.05} for name, rate in rates.items()}
    return {"images": images, "steps": 300, "seconds": seconds, "victim_accuracy": 0.97, **intervals}


def make_job(sweep: Path, record: JobRecord, result: dict | None = None) -> Path:
    """The folder of a job as a run leaves it."""
    folder = sweep / f"{record.number}_job"
    folder.mkdir(parents=True)
    record.write(folder)
    if result is not None:
        (folder / "summary.json").write_text(json.dumps(result))
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep over two keys: one job finished, one failed, one was killed; `seed` is the same in all."""
    folder = tmp_path / "a sweep"
    shared = ("seed=3", "+own.note='a, b'")
    make_job(folder, JobRecord(10, ("attack.strength=8", *shared, "attack=tang2018")))
    make_job(folder, JobRecord(2, ("attack.strength=null", *shared, "attack=type1"), "failed", "No luck. Try again."))
    finished = JobRecord(1, ("attack.strength=2.5", *shared, "attack=type1"), "finished")
    make_job(folder, finished, summary(0.5))
    return folder


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TestTable:
    def test_json_has_one_row_per_job(self, sweep: Path) -> None:
        report(sweep)
        empty = dict.fromkeys(
            f"{criterion}{end}" for criterion in QUESTIONS for end in ("", "_low", "_high")
        ) | dict.fromkeys(["images", "seconds", "successes_per_second"])
        rates = {name: one for name, one in summary(0.5).items() if isinstance(one, dict)}
        assert set(rates) == set(QUESTIONS)
        finished = {
            **{name: rate["rate"] for name, rate in rates.items()},
            **{f"{name}_{end}": rate[end] for name, rate in rates.items() for end in ("low", "high")},
            **{"images": 200, "seconds": 40.0, "successes_per_second": 2.5},
        }
        assert (finished["judge_reads_target"], finished["success_low"], finished["victim_keeps_high"]) == (
            0.52,
            0.4,
            pytest.approx(0.95),
        )
        first, second, third = json.loads((sweep / "sweep.json").read_text())
        named = {"folder": "1_job", "status": "finished", "attack.strength": 2.5, "attack": "type1", "reason": None}
        assert first == named | finished
        named = {"folder": "2_job", "status": "failed", "attack.strength": None, "attack": "type1"}
        assert second == named | empty | {"reason": "No luck. Try again."}
        named = {"folder": "10_job", "status": "unfinished", "attack.strength": 8, "attack": "tang2018"}
        assert third == named | empty | {"reason": None}

    def test_csv_has_the_columns_and_values_of_json(self, sweep: Path) -> None:
        report(sweep)
        first, second, third = read_csv(sweep)
        assert list(first) == list(json.loads((sweep / "sweep.json").read_text())[0])
        assert (first["success"], first["successes_per_second"], first["reason"]) == ("0.5", "2.5", "")
        assert [row["attack.strength"] for row in (first, second, third)] == ["2.5", "null", "8"]
        assert (second["success"], second["reason"]) == ("", "No luck. Try again.")

    def test_terminal_prints_failures_first(self, sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
        report(sweep)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        (failed,) = (number for number, line in enumerate(lines) if "failed" in line)
        assert lines[failed] == ["2", "null", "type1", "failed", "No", "luck.", "Try", "again."]
        assert lines[failed + 1] == ["10", "8", "tang2018", "unfinished"]
        expected = ["1", "2.5", "type1", "50.0%", "40.0–55.0", "90.0%", "70.0%", "52.0%", "2.5"]
        assert expected in lines[failed + 2 :]

    def test_terminal_prints_what_a_type2_attack_asks_for(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The victim leaves y where it doesn't keep it, and the judge must read y."""
        make_job(tmp_path, JobRecord(0, ("attack=pgd",), "finished"), summary(0.5) | {"kind": "type2"})
        report(tmp_path)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["0", "50.0%", "40.0–55.0", "10.0%", "70.0%", "12.5%", "2.5"] in lines

    def test_swept_key_is_found_after_first_job(self, tmp_path: Path) -> None:
        make_job(tmp_path, JobRecord(0, ("attack.strength=2", "seed=3"), "finished"), summary(0.5))
        planned = "hydra:\n  overrides:\n    task: ['attack.strength=2,4', 'seed=3']\n"
        (tmp_path / "multirun.yaml").write_text(planned)
        assert read_sweep(tmp_path).keys == ("attack.strength",)

    def test_terminal_prints_brackets_literally(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for number, init in enumerate(("[mean]", "[nearest]")):
            make_job(tmp_path, JobRecord(number, (f"attack.init={init}",), "failed", "Correct [/x]."))
        report(tmp_path)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["1", "[nearest]", "failed", "Correct", "[/x]."] in lines

    @pytest.mark.parametrize("width", [40, 60, 80, 200])
    def test_terminal_of_any_width_has_jobs_and_values_of_four_keys(
        self, tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", str(width))
        keys = ("attack.residual.eps", "model.victim.training.epochs", "attack.confidence", "model/victim")
        for number, values in enumerate([("0.25", "120", "0.999", "gap_cnn_deep"), ("0.75", "240", "0.95", "lenet")]):
            overrides = tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True))
            record = JobRecord(10 + number, overrides, "finished" if number else "failed", None if number else "No.")
            make_job(tmp_path, record, summary(0.5) if number else None)
        report(tmp_path)
        out = capsys.readouterr().out
        table = out[: out.index("results   ")]
        assert max(map(len, table.splitlines())) <= width
        words = "10 0.25 120 0.999 gap_cnn_deep failed No. 11 0.75 240 0.95 lenet 50.0% 40.0–55.0 90.0% 70.0% 52.0%"
        assert [word for word in words.split() if word not in table] == []

    def test_job_that_failed_after_its_result_is_drawn_nowhere(self, sweep: Path) -> None:
        """Job 2 is the one that has failed; of it alone there is neither figure nor page."""
        (sweep / "2_job" / "summary.json").write_text(json.dumps(summary(0.25)))
        assert [job.number for job, _ in read_sweep(sweep).results] == [1]
        assert [job.number for job in read_sweep(sweep).without_result] == [2, 10]
        (sweep / "1_job" / "summary.json").unlink()
        report(sweep)
        assert (sweep / "sweep.csv").exists()
        assert not (sweep / "sweep.png").exists()
        assert not (sweep / "sweep.html").exists()

    def test_zero_seconds_give_no_speed(self, tmp_path: Path) -> None:
        make_job(tmp_path, JobRecord(0, (), "finished"), summary(0.5, seconds=0.0))
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
            ("attack.init=[mean, nearest]", "[mean, nearest]"),
            ("attack.strength=inf", "inf"),
            ("++attack.extra=1", 1),
        ],
    )
    def test_values_are_parsed_as_hydra_does(self, tmp_path: Path, override: str, value: Value) -> None:
        make_job(tmp_path, JobRecord(0, (override,)))
        (job,) = read_sweep(tmp_path).jobs
        ((key, found),) = job.values.items()
        assert key == override.split("=")[0].lstrip("+")
        assert (found, type(found)) == (value, type(value))


class TestCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
        monkeypatch.setattr(sys, "argv", ["cam-adv-sweep", str(folder)])
        try:
            sweep_report.main()
        except SystemExit as ending:
            return ending.code
        return 0

    def test_figure_that_fails_leaves_the_tables(
        self,
        sweep: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(_: object) -> None:
            raise ValueError("no luck")

        monkeypatch.setattr(sweep_report, "sweep_figure", fail)
        assert self.run(monkeypatch, sweep) == 0
        assert sorted(path.name for path in sweep.glob("sweep.*")) == ["sweep.csv", "sweep.html", "sweep.json"]
        assert "results: 1 of 3 jobs" in capsys.readouterr().out
        assert caplog.messages == ["sweep.png can't be drawn: ValueError: no luck"]

    def test_running_sweep_is_reported_and_updated_at_its_end(
        self, sweep: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert self.run(monkeypatch, sweep) == 0
        with Image.open(sweep / "sweep.png") as image:
            before = image.size
        assert [row["status"] for row in read_csv(sweep)] == ["finished", "failed", "unfinished"]
        JobRecord(10, ("attack.strength=8", "attack=tang2018"), "finished").write(sweep / "10_job")
        (sweep / "10_job" / "summary.json").write_text(json.dumps(summary(0.75)))
        assert self.run(monkeypatch, sweep) == 0
        assert [row["success"] for row in read_csv(sweep)] == ["0.5", "", "0.75"]
        with Image.open(sweep / "sweep.png") as image:
            assert image.format == "PNG"
            assert image.size != before  # now two values of the keys are drawn
        assert sorted(path.name for path in sweep.iterdir() if path.is_file()) == [
            f"sweep.{ending}" for ending in ("csv", "html", "json", "png")
        ]

    def test_sweep_without_attacks_has_no_figure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number, name in enumerate(("lenet", "mlp")):
            make_job(tmp_path, JobRecord(number, ("study=train", "role=victim", f"model/victim={name}"), "finished"))
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

    def test_sweep_with_figures_false_has_no_figure(self, sweep: Path) -> None:
        (sweep / "multirun.yaml").write_text("figures: false\nhydra: {overrides: {task: []}}\n")
        report(sweep)
        assert sorted(path.name for path in sweep.glob("sweep.*")) == ["sweep.csv", "sweep.json"]

    @pytest.mark.parametrize("found", ["nothing", "no job", "a broken record", "another record", "a broken summary"])
    def test_unreadable_sweep_exits_with_problem_and_remedy(
        self, tmp_path: Path, found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        sweep = tmp_path / "sweep"
        if found == "no job":
            sweep.mkdir()
        elif found != "nothing":
            job = make_job(sweep, JobRecord(0, ()), {"images": 3} if found == "a broken summary" else None)
            if found == "a broken record":
                (job / "job.json").write_text("{")
            elif found == "another record":
                (job / "job.json").write_text('{"id": 3}')
        assert self.run(monkeypatch, sweep) == 2
        first, second = capsys.readouterr().err.splitlines()
        assert first.startswith(f"cam-adv-sweep: {sweep}")
        assert (first[-1], second[-1]) == (".", ".")
        assert not list(tmp_path.glob("**/sweep.*"))

    def test_command_and_report_import_no_torch(self) -> None:
        code = "import sys, cam_adv.cli, cam_adv.sweep.report; print('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"

    def test_unwritable_file_raises_user_error(self, sweep: Path) -> None:
        (sweep / "sweep.csv").mkdir()
        with pytest.raises(UserError, match=r"sweep\.csv can't be written"):
            report(sweep)


@pytest.mark.slow
class TestRealSweep:
    def test_sweep_with_failed_job_writes_report(
        self, command: Callable[..., CommandResult], tiny: list[str], attack_run: AttackRun, tmp_path: Path
    ) -> None:
        """The second job fails: Hydra raises its error at the end, and the report is written all the same."""
        sweep = tmp_path / "sweep"
        overrides = ["--multirun", *tiny, f"outputs={attack_run.root / 'outputs'}", f"hydra.sweep.dir={sweep}"]
        result = command(*overrides, "attack.strength=0.05,-1,0.1")
        assert result.code == 2, result.err
        assert "cam-adv: attack.strength=-1" in result.err
        assert "Traceback" not in result.err
        first, second, third = read_csv(sweep)
        for row, strength in ((first, "0.05"), (third, "0.1")):
            tensors, bound = load_file(sweep / row["folder"] / "attack.safetensors"), float(strength)
            assert torch.equal(tensors["x"], attack_run.tensors["x"])
            assert (tensors["z"] - tensors["z0"]).norm(dim=1).max() <= bound + 1e-5
            assert (tensors["path"] - tensors["z0"].unsqueeze(1)).norm(dim=2).max() >= 0.9 * bound
            assert (row["status"], row["attack.strength"], row["reason"]) == ("finished", strength, "")
            written = json.loads((sweep / row["folder"] / "summary.json").read_text())
            for criterion in QUESTIONS:
                ends = {"rate": float(row[criterion]), "low": float(row[f"{criterion}_low"])}
                assert ends | {"high": float(row[f"{criterion}_high"])} == written[criterion]
            assert (row["images"], float(row["seconds"])) == ("12", written["seconds"])
        assert (second["status"], second["attack.strength"], second["success"]) == ("failed", "-1", "")
        assert second["reason"].startswith("attack.strength=-1 can't be used")
        assert not list(sweep.glob("*/traceback.txt"))
        with Image.open(sweep / "sweep.png") as image:
            assert image.format == "PNG"
        assert [row["folder"] for row in read_csv(sweep)] == [
            "0_attack.strength=0.05",
            "1_attack.strength=-1",
            "2_attack.strength=0.1",
        ]
        _, _, runs = read_hparams(tmp_path)
        assert {name: run.hparams["attack.strength"] for name, run in runs.items()} == {
            f"0_attack.strength=0.05 of {sweep}": 0.05,
            f"2_attack.strength=0.1 of {sweep}": 0.1,
        }
        table = result.out[result.out.index("without an attack's result: 1 of 3 jobs") :]
        assert table.index("attack.strength=-1") < table.index("results: 2 of 3 jobs")
        assert not list(tmp_path.rglob("*.part"))

        assert stored_models(attack_run.root) == attack_run.store

    def test_sweep_of_trainings_reports_status(
        self, command: Callable[..., CommandResult], tiny: list[str], tmp_path: Path
    ) -> None:
        swept = [
            "model.victim.training.epochs=1,2",
            "study=train",
            "role=victim",
            f"hydra.sweep.dir={tmp_path / 'sweep'}",
        ]
        result = command("--multirun", *tiny, *swept)
        assert result.code == 0, result.err
        rows = read_csv(tmp_path / "sweep")
        assert [(row["model.victim.training.epochs"], row["status"]) for row in rows] == [
            ("1", "finished"),
            ("2", "finished"),
        ]
        assert not (tmp_path / "sweep" / "sweep.png").exists()

    def test_single_run_writes_no_job_record(self, command: Callable[..., CommandResult], tiny: list[str]) -> None:
        result = command(*tiny, "study=train", "role=victim", "model.victim.training.epochs=1", "hydra.run.dir=run")
        assert result.code == 0, result.err
        assert not list(Path().rglob("job.json"))

    def test_refused_command_line_writes_no_table(
        self, command: Callable[..., CommandResult], tmp_path: Path
    ) -> None:
        result = command("--multirun", "attack.strenght=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}")
        assert result.code == 2
        assert "There is no key attack.strenght." in result.err
        assert "without an attack" not in result.out


@pytest.mark.parametrize("begun", [True, False])
def test_interrupted_sweep_is_reported(tmp_path: Path, begun: bool) -> None:
    """A search that has begun no job has nothing to report."""

    def interrupted() -> None:
        hydra = {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": ["seed=1,2"], "hydra": []}}
        hydra |= {
            "sweeper": {"_target_": "another.Sweeper"},
            "launcher": {"_target_": "another.Launcher"},
            "output_subdir": None,
        }
        with report_on_exit():
            OutputFolder().on_multirun_start(OmegaConf.create({"hydra": hydra, "resume": None}))
            if begun:
                make_job(tmp_path, JobRecord(2, ("seed=1",)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    if not begun:
        assert not (tmp_path / "sweep.csv").exists()
        return
    assert [(row["folder"], row["status"]) for row in read_csv(tmp_path)] == [("2_job", "unfinished")]
