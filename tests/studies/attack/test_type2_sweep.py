"""A sweep over two Type II attacks through the command line: every figure is computed again from its tensors."""

import csv
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
from conftest import AttackRun, CommandResult, page_data, run_in_process
from omegaconf import OmegaConf
from safetensors.torch import load_file
from torch import Tensor

from cam_adv.data.splits import ImageSplits
from cam_adv.metrics.funnel import JUDGE, SUCCESS, VICTIM
from cam_adv.metrics.intervals import Rate, wilson
from cam_adv.models.generators.svae import SVAE

pytestmark = pytest.mark.slow

ATTACKS = ("type2_latent", "pgd")


@pytest.fixture(scope="module")
def sweep(tiny: list[str], attack_run: AttackRun) -> tuple[Path, CommandResult]:
    """The folder of the sweep, which uses the models of the first run."""
    of_latent_attacks = ("attack.confidence=", "attack.learning_rate=", "attack.steps=")
    shared = [override for override in tiny if not override.startswith(of_latent_attacks)]
    overrides = [*shared, f"attack={','.join(ATTACKS)}", "attack.strength=3", "hydra.sweep.dir=type2"]
    result = run_in_process(["-m", *overrides], attack_run.root)
    assert result.code == 0, result.err
    return attack_run.root / "type2", result


def job_folder(sweep: tuple[Path, CommandResult], attack: str) -> Path:
    (folder,) = (path.parent for path in sweep[0].glob("*/config.yaml") if OmegaConf.load(path).attack.name == attack)
    return folder


def job_files(
    sweep: tuple[Path, CommandResult], attack: str
) -> tuple[dict[str, Any], dict[str, Tensor], list[dict[str, str]]]:
    """The summary, the tensors and the rows of a job."""
    folder = job_folder(sweep, attack)
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads((folder / "summary.json").read_text()), load_file(folder / "attack.safetensors"), rows


@pytest.mark.parametrize("attack", ATTACKS)
def test_rates_follow_from_tensors(sweep: tuple[Path, CommandResult], attack: str) -> None:
    summary, tensors, rows = job_files(sweep, attack)
    y, target, victim, reads = (tensors[name] for name in ("y", "target", "victim_probs", "judge_reads"))
    keeps = victim.argmax(dim=1) == y
    expected = {
        "attempted": y >= 0,
        "victim_keeps": keeps,
        "plausible": reads != -1,
        "judge_reads_target": reads == target,
        "judge_reads_source": reads == y,
        "judge_reads_nothing": reads == -1,
        "success": ~keeps & (reads == y),
        "f2_reads_perceived": tensors["f2_probs"].argmax(dim=1) == y,
    }
    assert {name for name, value in summary.items() if isinstance(value, dict)} == set(expected)
    for name, met in expected.items():
        # Each image starts at its own code, or from itself: the clusters have one result each.
        rate = Rate(1, 1, 1) if name == "attempted" else wilson(int(met.sum()), len(met))
        assert summary[name] == pytest.approx(vars(rate)), name
        if name in rows[0]:
            assert [row[name] for row in rows] == [str(int(one)) for one in met]
    assert summary["clusters"] == len(y)
    assert summary["kind"] == "type2"
    assert not keeps.all()


def test_only_latent_attacks_have_a_start_and_a_residual(sweep: tuple[Path, CommandResult]) -> None:
    """That of `type2_latent` is 0: it has no residual of its own, so that x' is G(z)."""
    summary, tensors, rows = job_files(sweep, "type2_latent")
    torch.testing.assert_close(tensors["generated"], tensors["x_adv"], rtol=0, atol=1e-5)
    assert torch.equal(tensors["start_image"], tensors["reconstruction"])
    assert summary["median_residual"] == pytest.approx(0, abs=1e-4)
    assert "residual_path" not in tensors
    assert "residual" in rows[0]
    summary, tensors, rows = job_files(sweep, "pgd")
    assert not {"generated", "start_image", "z_start", "residual_path"} & set(tensors)
    assert "median_residual" not in summary
    assert "residual" not in rows[0]


def test_same_images_are_attacked_as_by_type1(sweep: tuple[Path, CommandResult], attack_run: AttackRun) -> None:
    for attack in ATTACKS:
        assert torch.equal(job_files(sweep, attack)[1]["index"], attack_run.tensors["index"])
    assert torch.equal(job_files(sweep, "type2_latent")[1]["target"], attack_run.tensors["target"])


def test_pixel_attack_has_the_codes_of_its_images(
    sweep: tuple[Path, CommandResult], attack_run: AttackRun, splits: ImageSplits
) -> None:
    """The posterior means of x and x'; the attack itself has no latent path."""
    (path,) = (attack_run.root / "outputs" / "models").glob("generator-*/model.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    network = SVAE(1, splits.num_classes, (16, 16), latent_size=8, width=4, hidden=32).eval()
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    summary, tensors, rows = job_files(sweep, "pgd")
    with torch.no_grad():
        torch.testing.assert_close(tensors["z0"], network.encode(tensors["x"]).mean, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(tensors["z"], network.encode(tensors["x_adv"]).mean, rtol=1e-4, atol=1e-4)
    assert "path" not in tensors
    distance = (tensors["z"] - tensors["z0"]).norm(dim=1)
    assert [float(row["distance"]) for row in rows] == pytest.approx(distance.tolist(), abs=1e-3)
    assert summary["median_distance"] == pytest.approx(distance.median().item(), rel=1e-4)


def test_nearest_real_image_is_of_the_class_that_stays(
    sweep: tuple[Path, CommandResult], splits: ImageSplits
) -> None:
    tensors = job_files(sweep, "pgd")[1]
    for row in range(len(tensors["y"])):
        real = splits.train.images[splits.train.labels == tensors["y"][row]].float() / 255
        nearest = (real - tensors["x_adv"][row]).flatten(1).norm(dim=1).min()
        assert tensors["distance_nearest"][row].item() == pytest.approx(nearest.item(), rel=1e-4)


def test_pixel_attack_is_drawn_once_for_each_source_class(sweep: tuple[Path, CommandResult]) -> None:
    """An untargeted attack has no target class to be drawn for."""
    folder = job_folder(sweep, "pgd")
    pairs = OmegaConf.load(folder / "config.yaml").dataset.example_pairs
    filmstrips = sorted(path.stem for path in (folder / "figures").glob("*_to_*.png"))
    assert len(filmstrips) == len({source for source, _ in pairs})
    assert (folder / "trajectory.gif").exists()


def test_pages_show_walks_of_codes_and_straight_lines(sweep: tuple[Path, CommandResult]) -> None:
    latent, pixels = (page_data(job_folder(sweep, attack) / "report.html") for attack in ATTACKS)
    assert (latent["recorded"], pixels["recorded"]) == (True, False)
    assert latent["rows"][0]["walk"]["answers"].keys() == {"victim", "judge", "f2"}
    for row in pixels["rows"]:
        assert row["walk"]["answers"].keys() == {"victim", "judge"}
        assert len(row["walk"]["frames"]) == 14
    success = job_files(sweep, "pgd")[2]
    assert [row["end"] == 0 for row in pixels["rows"]] == [row["success"] == "1" for row in success]
    keeps = [pixels["ends"][row["end"]] == "the victim does not leave y" for row in pixels["rows"]]
    assert keeps == [row["victim_keeps"] == "1" for row in success]


def test_page_of_the_sweep_links_its_jobs_and_has_their_images(sweep: tuple[Path, CommandResult]) -> None:
    page = sweep[0] / "sweep.html"
    links = [unquote(link) for link in re.findall('href="([^"]*report.html)"', page.read_text())]
    assert links == [f"{job_folder(sweep, attack).name}/report.html" for attack in ATTACKS]
    data = page_data(page)
    assert data["jobs"] == [f"attack={attack}" for attack in ATTACKS]
    for number, attack in enumerate(ATTACKS):
        rows = {row["index"]: row for row in job_files(sweep, attack)[2]}
        for image in data["images"]:
            said, probability, read, success = image["answers"][number]
            row = rows[image["index"]]
            assert (said, read, success) == (row["victim_x_adv"], row["judge_reads_x_adv"], row["success"] == "1")
            assert probability == pytest.approx(float(row["victim_x_adv_confidence"]), abs=6e-4)


def test_printed_funnel_is_that_of_type2(sweep: tuple[Path, CommandResult]) -> None:
    printed = " ".join(sweep[1].out.split())
    for text in (JUDGE["type2"], VICTIM["type2"], SUCCESS["type2"], "beside: the judge reads y'"):
        assert text in printed
    assert "f2, which the attack optimises, as the judge" in printed
    assert ": no claim, for the reasons above" in printed  # six epochs make no generator
    assert VICTIM["type1"] not in printed


def test_sweep_table_has_the_success_of_each_attack(sweep: tuple[Path, CommandResult]) -> None:
    table = json.loads((sweep[0] / "sweep.json").read_text())
    assert [row["attack"] for row in table] == list(ATTACKS)
    for row in table:
        assert row["success"] == job_files(sweep, row["attack"])[0]["success"]["rate"]
