"""`from=FOLDER` repeats a run with its own config."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import AttackRun, CommandResult
from omegaconf import OmegaConf

from cam_adv.config.composition import compose
from cam_adv.config.repeated_run import with_repeated_run
from cam_adv.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run with `attack=pgd attack.steps=7 seed=3`."""
    folder = tmp_path / "a run"
    folder.mkdir()
    write_run(folder, ["attack=pgd", "attack.steps=7", "seed=3", "resume=latest"])
    return folder


def write_run(folder: Path, overrides: Sequence[str]) -> None:
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(compose(overrides), resolve=True))
    (folder / "overrides.yaml").write_text(OmegaConf.to_yaml(list(overrides)))


class TestWithRepeatedRun:
    def test_overrides_of_the_run_come_before_those_of_the_command(self, run: Path) -> None:
        arguments = ["-m", f"from={run}", "seed=4"]
        assert with_repeated_run(arguments) == ["-m", "attack=pgd", "attack.steps=7", f"from={run}", "seed=4"]
        assert with_repeated_run(["seed=4"]) == ["seed=4"]

    def test_another_choice_of_a_group_leaves_out_what_was_set_inside(self, run: Path) -> None:
        assert with_repeated_run([f"from={run}", "attack=fgsm"]) == ["seed=3", f"from={run}", "attack=fgsm"]

    @pytest.mark.parametrize("known", [True, False], ids=["with overrides", "with its config alone"])
    def test_config_of_the_run_counts_where_defaults_have_changed(self, run: Path, known: bool) -> None:
        config = OmegaConf.load(run / "config.yaml")
        config.selection.images, config.outputs = 17, "it's {other}"
        config.dataset.example_pairs = [[2, "seven"]]
        OmegaConf.update(config, "attack.extra", 1e-7)
        del config.attack["random_start"]
        OmegaConf.save(config, run / "config.yaml")
        if not known:
            (run / "overrides.yaml").unlink()
        composed = OmegaConf.to_container(compose(with_repeated_run([f"from='{run}'"])), resolve=True)
        assert composed == OmegaConf.to_container(config) | {"from": str(run), "resume": None}

    @pytest.mark.parametrize(
        ("file", "what", "remedy"),
        [
            (None, "is no folder of a run", "config.yaml"),
            ("multirun.yaml", "is the folder of a sweep", "one of its jobs"),
        ],
    )
    def test_folder_without_a_run_is_refused(self, tmp_path: Path, file: str | None, what: str, remedy: str) -> None:
        if file:
            (tmp_path / file).touch()
        with pytest.raises(UserError, match=what) as refusal:
            with_repeated_run([f"from={tmp_path}"])
        assert remedy in refusal.value.remedy


@pytest.mark.slow
class TestCommand:
    def test_repeated_run_has_the_same_results_in_a_new_folder(
        self, attack_run: AttackRun, command: Callable[..., CommandResult]
    ) -> None:
        outputs = attack_run.root / "outputs"
        result = command(f"from={attack_run.folder}", f"outputs={outputs}", "name=repeated")
        assert result.code == 0, result.err
        (again,) = (outputs / "repeated").iterdir()
        for name in ("attack.safetensors", "results.csv"):
            assert (again / name).read_bytes() == (attack_run.folder / name).read_bytes()
        one, two = (OmegaConf.load(folder / "config.yaml") for folder in (attack_run.folder, again))
        assert {key for key in one if one[key] != two[key]} == {"from", "name", "outputs"}

    @pytest.mark.parametrize("option", ["--config-dir", "--config-path"])
    def test_run_folder_as_a_folder_of_configs_is_refused(
        self, command: Callable[..., CommandResult], run: Path, option: str
    ) -> None:
        result = command(option, str(run), "--config-name", "config")
        assert result.err.startswith(f"cam-adv: {run} is the folder of a run")
        assert f"Repeat the run with cam-adv 'from={run}', and" in result.err
        assert result.code == 2

    def test_config_that_would_be_ignored_is_refused(self, command: Callable[..., CommandResult]) -> None:
        Path("own/attack").mkdir(parents=True)
        Path("own/attack/type1.yaml").touch()
        result = command("--config-dir=own", "attack=type1")
        assert (
            result.err == "cam-adv: own/attack/type1.yaml has the name of a config of cam-adv.\n         Rename it.\n"
        )
