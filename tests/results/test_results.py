"""What a result depends on, how it is made, and when it is stale."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cam_adv.errors import UserError
from cam_adv.results import __main__ as results
from cam_adv.results import making, record
from cam_adv.results.making import make
from cam_adv.results.record import Record
from cam_adv.results.registry import RESULTS
from cam_adv.results.result import Result

ROOT = Path(__file__).parents[2]
DIGITS = Result("digits", "cam-adv", 1)

PROGRAM = """
import json, os, sys
from pathlib import Path
code, option, file = sys.argv[1:]
assert option == "--json"
Path(file).with_name("picture.png").write_text("p")
values = {"threads": os.environ["OMP_NUM_THREADS"], "left out": 0, "claims": [{"details": 0, "other": 1}]}
Path(file).write_text(json.dumps(values))
Path(file).with_name("more.json").write_text(json.dumps({"left out": 2}))
print("done")
sys.exit(int(code))
"""

WRITES = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
folder.mkdir(exist_ok=True)
(folder / "summary.json").write_text('{"a": 1}')
"""


def source(command: str) -> str:
    return Result("one", command, 1).source


def test_source_depends_on_the_config_but_not_on_places() -> None:
    assert source("cam-adv hardware=cpu name=other outputs=elsewhere") == DIGITS.source
    others = [
        source(f"cam-adv {text}")
        for text in ("attack.confidence=0.99", "seed=1", "study=min_perturbation", "-m seed=0,1", "-m seed=0,1,2")
    ]
    assert len({DIGITS.source, *others}) == 6


def test_source_depends_on_code_that_any_job_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sweep over attacks, the code of each is looked at."""
    reached: set[str] = set()
    monkeypatch.setattr(
        "cam_adv.results.result.source_hash", lambda *ones: reached.update(one.__name__ for one in ones)
    )
    source("cam-adv -m attack=type1,pgd,ddn seed=0,1")
    assert {"PGD", "DDN", "AttackStudy"} <= reached


def test_names_of_results_and_of_their_pictures_are_different() -> None:
    names = [one.name for one in RESULTS]
    pictures = [name for one in RESULTS for name in one.pictures.values()]
    assert len(set(names)) == len(names)
    assert len(set(pictures)) == len(pictures)


def test_every_command_can_be_composed() -> None:
    assert all(len(one.source) == 12 for one in RESULTS)


def tiny_result(folder: Path, code: int = 0) -> Result:
    (folder / "program.py").write_text(PROGRAM)
    return Result(
        "tiny",
        f"python program.py {code}",
        1,
        values="values.json",
        files=("more.json",),
        left_out=("left out", "*.details"),
        pictures={"picture.png": "tiny.png"},
        needs=("program.py",),
    )


def test_made_result_is_recorded_with_its_picture(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    result = tiny_result(tmp_path)
    made = make(result, tmp_path, pages, threads=3, matmul_rate=2e11)
    assert Record.read(pages / "results" / "tiny.json") == made
    assert made.values == {"threads": "3", "claims": [{"other": 1}], "more": {"left out": 2}}
    assert (made.command, made.source, made.resumed) == (result.command, result.source, False)
    assert made.machine.endswith("200 GFLOP/s, 3 threads")
    assert made.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert (pages / "tiny.png").read_text() == "p"
    assert not make(result, tmp_path, pages, 1, 2e11).resumed
    (log,) = (tmp_path / "outputs" / "results").glob("tiny-*.log")
    assert log.read_text() == "done\ndone\n"
    assert results.state(result, made) == "fresh"
    assert results.state(result, replace(made, source="other")) == "stale"
    assert results.state(result, None) == "missing"


def test_large_picture_is_copied_with_a_palette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 4,096 colours; beside it a smaller file, whose bytes stay."""
    ramp = np.arange(0, 256, 4, np.uint8)
    red, green = np.broadcast_to(ramp, (64, 64)), np.broadcast_to(ramp[:, None], (64, 64))
    picture = Image.fromarray(np.stack([red, green, 255 - red], axis=2))
    original, copy = tmp_path / "original.png", tmp_path / "copy.png"
    picture.save(original)
    monkeypatch.setattr(making, "PALETTE_ABOVE", original.stat().st_size)
    making._copy_picture(original, copy)
    assert copy.read_bytes() == original.read_bytes()
    monkeypatch.setattr(making, "PALETTE_ABOVE", original.stat().st_size - 1)
    making._copy_picture(original, copy)
    with Image.open(copy) as copied:
        assert len(copied.convert("RGB").getcolors()) > 200
        difference = np.abs(np.asarray(copied.convert("RGB")).astype(int) - np.asarray(picture))
    assert 0 < difference.mean() < 6


def test_picture_that_the_command_did_not_draw_is_named(tmp_path: Path) -> None:
    result = replace(tiny_result(tmp_path), pictures={"3/other.png": "tiny.png"})
    with pytest.raises(UserError, match=r"ended well, but left no .*3/other\.png\.\n"):
        make(result, tmp_path, tmp_path, 1, 1.0)
    assert not (tmp_path / "results").exists()


def test_other_commands_depend_on_their_own_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cam_adv.results.result.CLONE", tmp_path)
    (tmp_path / "bench").mkdir()
    sources = set()
    for text in ("1", "2"):
        (tmp_path / "bench" / "case.py").write_text(text)
        sources.add(Result("one", "python -m bench", 1, code=("bench",)).source)
    assert len(sources | {DIGITS.source}) == 3


def test_run_that_was_killed_while_it_claimed_its_folder_is_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Such a folder holds a lock and no config: it can't be resumed."""
    folder = tmp_path / "outputs" / "results" / f"digits-{DIGITS.source}"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    monkeypatch.setattr(
        making, "_arguments", lambda result, place, resumed: [sys.executable, "-c", WRITES, str(place)]
    )
    made = make(replace(DIGITS, pictures={}), tmp_path, tmp_path, 1, 1.0)
    assert (made.values, made.resumed) == ({"a": 1}, False)
    (folder / "config.yaml").touch()
    assert make(replace(DIGITS, pictures={}), tmp_path, tmp_path, 1, 1.0).resumed


def test_failed_command_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"The command of tiny failed: python program.py 3\n"):
        make(tiny_result(tmp_path, code=3), tmp_path, tmp_path, 1, 1.0)
    assert not (tmp_path / "results").exists()


def test_missing_data_are_named_before_the_command_starts(tmp_path: Path) -> None:
    result = replace(tiny_result(tmp_path), needs=("data/signs",))
    with pytest.raises(UserError, match=f"tiny needs {tmp_path}/data/signs, which is not there"):
        make(result, tmp_path, tmp_path, 1, 1.0)
    assert not (tmp_path / "outputs").exists()


def test_runs_and_sweeps_get_their_folder_or_are_resumed() -> None:
    folder = Path("/somewhere/one")
    start = [sys.executable, "-m", "cam_adv"]
    sweep = Result("one", "cam-adv -m seed=0,1", 1)
    assert making._arguments(DIGITS, folder, False) == [*start, f"hydra.run.dir={folder}"]
    assert making._arguments(sweep, folder, False) == [*start, "-m", "seed=0,1", f"hydra.sweep.dir={folder}"]
    assert making._arguments(sweep, folder, True) == [*start, "-m", "seed=0,1", f"resume={folder}"]


def test_picture_of_a_job_is_found_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "1_seed=3").mkdir()
    (tmp_path / "11_seed=4").mkdir()
    assert making._in_run(tmp_path, "1/figures/a.png") == tmp_path / "1_seed=3" / "figures" / "a.png"
    assert making._in_run(tmp_path, "sweep.png") == tmp_path / "sweep.png"


def test_commit_says_whether_the_code_was_changed(tmp_path: Path) -> None:
    assert record.commit(tmp_path) == ""

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b", *arguments], check=True)

    git("init", "-q")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "a.yaml").write_text("a: 1")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = record.commit(tmp_path)
    assert len(clean) == 12
    (tmp_path / "README.md").write_text("rendered")
    assert record.commit(tmp_path) == clean
    (tmp_path / "conf" / "a.yaml").write_text("a: 2")
    assert record.commit(tmp_path) == clean + "+"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "digit"], "there is no result digit: choose from digits"),
        (["--jobs", "0"], "--jobs=0 can't be used"),
        ([], "README.md is not here"),
    ],
)
def test_wrong_command_is_refused(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        results.main(arguments)
    assert message in capsys.readouterr().err


def test_only_missing_and_stale_results_are_made_and_pages_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = tiny_result(tmp_path)
    broken = replace(tiny, name="broken", command=tiny.command.replace(" 0", " 4"))
    monkeypatch.setattr(results, "RESULTS", (tiny, broken))
    monkeypatch.chdir(tmp_path)
    for page in results.PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text("<!-- =tiny.values.threads --><!-- / -->")
    with pytest.raises(SystemExit):
        results.main([])
    assert "broken: The command of broken failed" in capsys.readouterr().out
    assert (tmp_path / "README.md").read_text().startswith("<!-- =tiny.values.threads -->")
    assert "not measured" not in (tmp_path / "README.md").read_text()
    results.main(["--only", "tiny"])
    assert capsys.readouterr().out == ""
    results.main(["--list"])
    out = capsys.readouterr().out
    assert "fresh" in out
    assert "missing" in out
    assert json.loads((tmp_path / "outputs" / "example" / "results" / "tiny.json").read_text())["seconds"] > 0
