"""The key `figures`, and `study=figures`, which draws what an attack has left."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import AttackRun, CommandResult, run_in_process

from cam_adv.runtime.run_dir import is_finished

EXAMPLES = "dataset.example_pairs=[[0,1],[1,0]]"
RESULTS = ("attack.safetensors", "summary.json", "figures.safetensors")


@pytest.fixture
def attack(
    attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str]
) -> Callable[..., CommandResult]:
    """`attack_run` again with further overrides, into the folder `again` of the working directory."""
    again = [*tiny, EXAMPLES, f"outputs={attack_run.root / 'outputs'}", "hydra.run.dir=again"]
    return lambda *overrides: command(*again, *overrides)


def test_study_draws_the_same_figures_as_the_run_itself(
    attack_run: AttackRun, tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    for name in (*RESULTS, "config.yaml", "overrides.yaml"):
        shutil.copy(attack_run.folder / name, tmp_path / "run")
    result = run_in_process([*tiny, "study=figures", "run=run"], tmp_path, all_figures=True)
    assert result.code == 0, result.err
    drawn = [path.name for path in (attack_run.folder / "figures").iterdir()]
    assert len(drawn) == 7
    for name in ("trajectory.gif", *(f"figures/{one}" for one in drawn)):
        assert (tmp_path / "run" / name).read_bytes() == (attack_run.folder / name).read_bytes(), name
    page, first = ((folder / "report.html").read_text() for folder in (tmp_path / "run", attack_run.folder))
    assert page == first.replace(str(attack_run.folder), str(tmp_path / "run"))
    assert f"page      {Path('run', 'report.html')}" in result.out


def test_figures_later_leaves_the_same_results_and_the_command_that_draws_them(
    attack_run: AttackRun, attack: Callable[..., CommandResult]
) -> None:
    result = attack("figures=later")
    assert result.code == 0, result.err
    assert f"cam-adv study=figures run={Path('again').resolve()}\n" in result.out
    for name in ("attack.safetensors", "results.csv", "figures.safetensors"):
        assert Path("again", name).read_bytes() == (attack_run.folder / name).read_bytes(), name
    assert not Path("again/figures").exists()


def test_figures_false_leaves_the_same_numbers_and_no_figures(
    attack_run: AttackRun,
    attack: Callable[..., CommandResult],
    command: Callable[..., CommandResult],
    tiny: list[str],
) -> None:
    result = attack("figures=false")
    assert result.code == 0, result.err
    for name in ("attack.safetensors", "results.csv"):
        assert Path("again", name).read_bytes() == (attack_run.folder / name).read_bytes(), name
    assert [path.name for path in Path("again").glob("figures*")] == []
    answer = command(*tiny, "study=figures", "run=again")
    assert answer.code == 2
    assert "run=again lacks summary.json, attack.safetensors or figures.safetensors" in answer.err


def test_figure_that_fails_leaves_all_numbers_and_the_other_figures(
    attack_run: AttackRun,
    attack: Callable[..., CommandResult],
    command: Callable[..., CommandResult],
    tiny: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run is finished and succeeds; the study that does nothing but draw doesn't."""

    def fail(*_: object) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr("cam_adv.studies.attack.figures.draw_pairs", fail)
    result = attack()
    assert result.code == 0, result.err
    assert "pairs.png can't be drawn: ValueError: no luck" in result.out
    assert f"Not drawn, for the reasons above: pairs.png. All numbers are in {Path('again').resolve()}." in result.out
    assert f"cam-adv study=figures run={Path('again').resolve()}\n" in result.out
    assert Path("again/results.csv").read_bytes() == (attack_run.folder / "results.csv").read_bytes()
    assert all(Path("again", name).exists() for name in (*RESULTS, "figures/terms.png", "trajectory.gif"))
    assert is_finished(Path("again"))
    again = command(*tiny, "study=figures", "run=again")
    assert again.code == 2
    assert "1 of the figures of again can't be drawn, for the reasons above." in again.err


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["figures=late"], "figures=late can't be used: it should be true, false or 'later'."),
        (["study=train", "role=victim", "figures=later"], "figures=later, but the results of study=train"),
        (["study=figures", "run=x", "figures=false"], "figures=false, but study=figures does nothing"),
    ],
)
def test_figures_that_cannot_be_is_refused(
    command: Callable[..., CommandResult], overrides: list[str], what: str
) -> None:
    answer = command(*overrides)
    assert answer.code == 2
    assert what in answer.err
