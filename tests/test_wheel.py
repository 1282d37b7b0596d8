"""The wheel holds everything and works in an empty folder, far from the checkout; shell completion is quick."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ONE_THREAD, Answer, compose
from omegaconf import OmegaConf

from cam_adv.own_configs import FOLDER

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Installed:
    """A wheel in an environment of its own, which sees the packages of this one but not the checkout."""

    wheel: Path
    environment: Path

    def run(self, arguments: Sequence[str], folder: Path, **variables: str) -> Answer:
        """One of the environment's commands, started in `folder`."""
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HYDRA_FULL_ERROR")}
        command, *others = arguments
        done = subprocess.run(
            [self.environment / "bin" / command, *others],
            cwd=folder,
            env=clean | ONE_THREAD | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("wheel")
    source, environment = root / "source", root / "environment"
    source.mkdir()
    for name in ("cam_adv", "conf"):
        # A link to conf/ inside the package, which a checkout may have for its own use, is no part of it.
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "conf"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip"]
    _do([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(root), str(source)])
    (wheel,) = root.glob("*.whl")
    _do([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    _do([*pip, "--python", str(environment), "install", "-q", "--no-deps", "--no-index", str(wheel)])
    # A folder named in a .pth file is searched, but its own .pth files, such as an editable install's, are not read.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return Installed(wheel, environment)


def _do(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class TestWheel:
    def test_holds_all_modules_configs_and_pages_and_nothing_else(self, installed: Installed) -> None:
        with zipfile.ZipFile(installed.wheel) as file:
            held = {name for name in file.namelist() if ".dist-info/" not in name}
        modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "cam_adv").rglob("*.py")}
        configs = {f"cam_adv/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "conf").rglob("*.yaml")}
        assert len(configs) > 30
        pages = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "cam_adv").rglob("*.html")}
        assert held == modules | configs | pages | {"cam_adv/conf/__init__.py"}

    def test_is_what_runs(self, installed: Installed, tmp_path: Path) -> None:
        script = (
            "import cam_adv.conf, cam_adv.cli; print(cam_adv.__file__, cam_adv.cli.__file__, *cam_adv.conf.__path__)"
        )
        answer = installed.run(["python", "-c", script], tmp_path)
        assert answer.code == 0, answer.err
        places = [Path(place) for place in answer.out.split()]
        assert len(places) == 3
        assert all(place.is_relative_to(installed.environment) for place in places)

    def test_prints_the_config(self, installed: Installed, tmp_path: Path) -> None:
        answer = installed.run(["cam-adv", "--cfg", "job"], tmp_path)
        assert OmegaConf.create(answer.out) == compose()
        assert list(tmp_path.iterdir()) == []

    def test_sweeps_in_an_empty_folder(self, installed: Installed, tiny: list[str], tmp_path: Path) -> None:
        """The second job is a whole study."""
        quick = ["model.judge.training.epochs=1"]
        quick += ["model.generator.training.svae_epochs=1", "attack.weights.surrogates=0", "attack.images=4"]
        answer = installed.run(["cam-adv", "-m", *tiny, *quick, "stage=victim,attack"], tmp_path)
        assert answer.code == 0, answer.err
        (sweep,) = (tmp_path / "outputs" / "multirun" / "main").iterdir()
        (study,) = sweep.glob("1_*")
        assert {path.name for path in study.iterdir()} >= {"summary.json", "attack.safetensors", "figures"}
        table = (sweep / "sweep.csv").read_text()
        assert table.count("finished") == 2
        (sweep / "sweep.csv").unlink()
        again = installed.run(["cam-adv-sweep", str(sweep)], tmp_path)
        assert again.code == 0, again.err
        assert (sweep / "sweep.csv").read_text() == table
        assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


class TestConfigsOfOnesOwn:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / FOLDER / "attack").mkdir(parents=True)
        (tmp_path / FOLDER / "attack" / "mine.yaml").write_text("defaults: [type1, _self_]\nname: mine\nsteps: 7\n")
        return tmp_path

    def test_add_to_the_groups(self, command: Callable[..., Answer], folder: Path) -> None:
        config = OmegaConf.create(command("--cfg", "job", "attack=mine").out)
        assert (config.attack.name, config.attack.steps) == ("mine", 7)
        assert config.attack.starts == compose(["attack=type1"]).attack.starts

    def test_may_not_hide_the_packages(self, command: Callable[..., Answer], folder: Path) -> None:
        (folder / FOLDER / "attack" / "type1.yaml").write_text("name: type1\n")
        answer = command("--cfg", "job")
        assert answer.err.startswith(f"cam-adv: {FOLDER}/attack/type1.yaml has the name of a config of cam-adv.\n")
        assert answer.code == 2

    def test_are_named_when_a_choice_is_misspelt(self, command: Callable[..., Answer], folder: Path) -> None:
        assert "mine" in command("attack=nine").err


class TestCompletion:
    """As the shell asks for it."""

    @pytest.mark.parametrize(
        ("line", "answers"),
        [
            ("cam-adv attack=ty", {"attack=type1", "attack=type1_cam", "attack=type2_latent"}),
            ("cam-adv -m model/victim=gap", {"model/victim=gap_cnn", "model/victim=gap_cnn_tiny"}),
            ("cam-adv attack=type1_cam attack.weights.ca", {"attack.weights.cam="}),
            ("cam-adv attack=mi", {"attack=mine"}),
            ("cam-adv hydra/launcher=submitit_l", {"hydra/launcher=submitit_local"}),
        ],
    )
    def test_knows_groups_choices_and_keys(
        self,
        cam_adv: Callable[..., Answer],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        line: str,
        answers: set[str],
    ) -> None:
        (tmp_path / FOLDER / "attack").mkdir(parents=True)
        (tmp_path / FOLDER / "attack" / "mine.yaml").write_text("name: mine\n")
        monkeypatch.setenv("COMP_LINE", line)
        answer = cam_adv(["-sc", "query=bash"], tmp_path)
        assert answer.code == 0, answer.err
        assert answer.err == ""
        assert set(answer.out.split()) == answers

    def test_needs_no_torch_and_reads_the_main_config_once(self, tmp_path: Path) -> None:
        script = """
import sys
from hydra._internal.config_repository import ConfigRepository
reads, load = [], ConfigRepository.load_config
ConfigRepository.load_config = lambda self, config_path: reads.append(config_path) or load(self, config_path)
from cam_adv.cli import main
sys.argv = ["cam-adv", "-sc", "query=bash"]
main()
print(reads.count("config"), *sorted({"torch", "lightning", "numpy", "matplotlib"} & set(sys.modules)))
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=os.environ | ONE_THREAD | {"COMP_LINE": "cam-adv "},
            capture_output=True,
            text=True,
            check=True,
        )
        choices, loaded = done.stdout.splitlines()
        assert {"attack=", "attack.", "dataset=", "model/", "stage="} <= set(choices.split())
        assert loaded == "1"
