"""The wheel has everything and works in an empty folder, outside of the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ONE_THREAD, CommandResult, compose
from omegaconf import OmegaConf

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Installed:
    """A wheel in a virtual environment that has the packages of this one, but not the repository."""

    wheel: Path
    environment: Path

    def run(self, arguments: Sequence[str], folder: Path) -> CommandResult:
        """Run one of the environment's commands in `folder`."""
        variables = {
            name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HYDRA_FULL_ERROR")
        }
        command, *others = arguments
        done = subprocess.run(
            [self.environment / "bin" / command, *others],
            cwd=folder,
            env=variables | ONE_THREAD,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("wheel")
    source, environment = root / "source", root / "environment"
    source.mkdir()
    for name in ("cam_adv", "conf"):
        # A working copy may have a link cam_adv/conf to ../conf, which is no part of the package.
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "conf"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip"]
    run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(root), str(source)])
    (wheel,) = root.glob("*.whl")
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    run([*pip, "--python", str(environment), "install", "-q", "--no-deps", "--no-index", str(wheel)])
    # Python searches a folder that a .pth file names, but ignores that folder's .pth files, as of editable installs.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return Installed(wheel, environment)


def run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_wheel_has_all_modules_configs_and_pages_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "cam_adv").rglob("*.py")}
    configs = {f"cam_adv/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "conf").rglob("*.yaml")}
    assert len(configs) > 30
    pages = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "cam_adv").rglob("*.html")}
    assert names == modules | configs | pages | {"cam_adv/conf/__init__.py"}


def test_imported_modules_are_those_of_the_wheel(installed: Installed, tmp_path: Path) -> None:
    script = "import cam_adv.conf, cam_adv.cli; print(cam_adv.__file__, cam_adv.cli.__file__, *cam_adv.conf.__path__)"
    result = installed.run(["python", "-c", script], tmp_path)
    assert result.code == 0, result.err
    paths = [Path(text) for text in result.out.split()]
    assert len(paths) == 3
    assert all(path.is_relative_to(installed.environment) for path in paths)


def test_cfg_job_prints_the_config_and_writes_nothing(installed: Installed, tmp_path: Path) -> None:
    result = installed.run(["cam-adv", "--cfg", "job"], tmp_path)
    assert OmegaConf.create(result.out) == compose()
    assert list(tmp_path.iterdir()) == []


def test_sweep_in_an_empty_folder_writes_its_report(installed: Installed, tiny: list[str], tmp_path: Path) -> None:
    """The second job is a whole attack."""
    quick = [
        "model.judge.training.epochs=1",
        "model.generator.training.svae_epochs=1",
        "attack.weights.surrogates=0",
        "selection.images=4",
    ]
    sweep = ["cam-adv", "-m", *tiny, *quick, "name=both", "study=train,attack", "+role=victim"]
    result = installed.run(sweep, tmp_path)
    assert result.code == 0, result.err
    (folder,) = (tmp_path / "outputs" / "multirun" / "both").iterdir()
    (job,) = folder.glob("1_*")
    assert {path.name for path in job.iterdir()} >= {"summary.json", "attack.safetensors", "figures"}
    table = (folder / "sweep.csv").read_text()
    assert table.count("finished") == 2
    (folder / "sweep.csv").unlink()
    again = installed.run(["cam-adv-sweep", str(folder)], tmp_path)
    assert again.code == 0, again.err
    assert (folder / "sweep.csv").read_text() == table
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]
