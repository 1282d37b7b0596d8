"""The five examples of the section "Extending" in `cam_adv/README.md`, word for word: run, swept over and resumed."""

import csv
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import CommandResult, run_in_process
from safetensors.torch import load_file

README = Path(__file__).parent.parent / "cam_adv" / "README.md"

pytestmark = pytest.mark.slow


def section() -> str:
    """The README's section, without what comes before and after."""
    return README.read_text(encoding="utf-8").split("\n## Extending\n")[1].split("\n## ")[0]


def commands() -> list[list[str]]:
    """The arguments of every command in it."""
    lines = re.findall(r"```bash\n(.*?)```", section(), re.S)
    return [shlex.split(line)[1:] for block in lines for line in block.strip().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with the files of the section, each under the name in its first line."""
    folder = tmp_path_factory.mktemp("user")
    for name, text in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", section(), re.S):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(folder: Path, tiny: Sequence[str], example: str, *further: str) -> CommandResult:
    """The section's command whose arguments hold `example`, with the settings of a tiny study."""
    (command,) = [arguments for arguments in commands() if any(example in argument for argument in arguments)]
    swept = [one for one in further if one == "-m"]  # Hydra wants its flags first
    answer = run_in_process([*swept, *command, *tiny, *(one for one in further if one != "-m")], folder)
    assert answer.code == 0, answer.err
    return answer


def without(tiny: Sequence[str], *keys: str) -> list[str]:
    """The settings but those whose keys begin so."""
    return [override for override in tiny if not override.startswith(keys)]


@pytest.fixture(scope="module")
def pixel(tiny: list[str]) -> list[str]:
    """The tiny study's settings that an attack on pixels has."""
    return without(tiny, "attack")


def test_attack_perturbs_in_a_sweep_and_a_resumed_sweep_does_nothing_twice(folder: Path, pixel: list[str]) -> None:
    sweep = "hydra.sweep.dir=fades"
    run(folder, pixel, "attack=fade", sweep)
    for path, strength in zip(sorted(folder.glob("fades/*/attack.safetensors")), (0.3, 0.9), strict=True):
        tensors = load_file(path)
        assert (tensors["x_adv"] - (1 - strength) * tensors["x"]).abs().max() < 1e-6
        assert (tensors["target"] == tensors["victim_probs"].argmax(dim=1)).all()
    with (folder / "fades" / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["attack.strength"], row["status"]) for row in rows] == [("0.3", "finished"), ("0.9", "finished")]
    times = {path: path.stat().st_mtime_ns for path in folder.glob("fades/*/summary.json")}
    answer = run(folder, pixel, "attack=fade", sweep, "resume=fades")
    assert answer.out.count("Nothing is left to do") == 2
    assert times == {path: path.stat().st_mtime_ns for path in times}


@pytest.mark.parametrize("wrong", ["attack.strength=1.5", "+attack.colour=red"])
def test_attack_with_a_wrong_value_is_refused_by_its_path(folder: Path, pixel: list[str], wrong: str) -> None:
    answer = run_in_process(["attack=fade", *pixel, wrong], folder)
    assert answer.code == 2
    assert wrong.lstrip("+").split("=")[0] in answer.err


def test_study_counts_every_test_image_once(folder: Path, tiny: list[str]) -> None:
    run(folder, tiny, "study=class_counts", "hydra.run.dir=counts")
    counts = json.loads((folder / "counts" / "class_counts.json").read_text())
    assert sum(counts.values()) == 24
    assert (folder / "counts" / "figures" / "class_counts.png").stat().st_size > 0
    answer = run(folder, tiny, "study=class_counts", "hydra.run.dir=counts", "resume=counts")
    assert "Nothing is left to do" in answer.out


def test_study_is_swept(folder: Path, tiny: list[str]) -> None:
    seeds = "model.victim.seed=0,1"
    answer = run_in_process(["-m", "study=class_counts", *tiny, seeds, "hydra.sweep.dir=seeds"], folder)
    assert answer.code == 0, answer.err
    assert len(list(folder.glob("seeds/*/class_counts.json"))) == 2


def test_generator_is_trained_once_and_attacked_through_in_a_sweep(folder: Path, tiny: list[str]) -> None:
    settings = without(tiny, "model/generator", "model.generator.network.")
    run(folder, settings, "model/generator=dense_vae", "-m", "seed=1,2", "hydra.sweep.dir=dense")
    summaries = [json.loads(path.read_text()) for path in folder.glob("dense/*/summary.json")]
    assert [summary["images"] for summary in summaries] == [12, 12]
    assert len(list(folder.glob("outputs/models/generator-dense_vae-*"))) == 1


def test_dataset_is_split_trained_on_and_attacked_in_a_sweep(folder: Path, tiny: list[str]) -> None:
    settings = [*without(tiny, "dataset", "selection.images"), "attack.weights.surrogates=0"]
    settings += ["~model.judge.members.residual", "~model.judge.members.wide_kernel"]
    run(folder, settings, "dataset=stripes", "-m", "seed=1,2", "hydra.sweep.dir=striped")
    for path in folder.glob("striped/*/results.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["y"] for row in rows} == {"columns", "rows"}
        assert len(rows) == 20


def test_explanation_is_part_of_the_study(folder: Path, tiny: list[str]) -> None:
    small = ["victims=[0]", "images=6", "targets=1", "confidence=0.5", "folds=2", "trajectories=1"]
    small += ["deletion_insertion_steps=2", "caliper=3"]
    shipped = ("score_cam", "integrated_gradients", "grad_cam_pp", "grad_cam")
    fewer = [
        *(f"~study.attributions.{name}" for name in shipped),
        "~study.arms.type1_cam",
        "~study.arms.type1_latent",
    ]
    overrides = [*(f"study.{one}" for one in small), *fewer, "hydra.run.dir=explained"]
    run(folder, tiny, "study=explanation_reliability", *overrides)
    found = json.loads((folder / "explained" / "explanation_reliability.json").read_text())
    assert "saliency" in json.dumps(found)
