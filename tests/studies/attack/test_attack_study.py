"""A tiny run of the study `attack` through the command line: every figure is computed again from its tensors."""

import json
import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASS_NAMES, AttackRun, CommandResult, read_hparams, run_in_process, stored_models
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cam_adv.config.compose import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.models.ensemble import product_of_experts
from cam_adv.models.generators.svae import SVAE

pytestmark = pytest.mark.slow

IMAGES, CONFIDENCE, LATENT_SIZE = 12, 0.4, 8
CRITERIA = ("victim_criterion", "judge_criterion", "success", "success_confident")


def weights(attack_run: AttackRun, role: str) -> dict[str, torch.Tensor]:
    """The weights in the store of the one model of a role."""
    (path,) = (attack_run.root / "outputs" / "models").glob(f"{role}-*/model.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items()}


def latent_distance(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return (tensors["z"] - tensors["z0"]).norm(dim=1)


class TestTensors:
    def test_names_and_shapes(self, attack_run: AttackRun) -> None:
        shapes = {name: tuple(value.shape) for name, value in attack_run.tensors.items()}
        image, classes = (IMAGES, 1, 16, 16), (IMAGES, 3)
        expected = {
            "x": image,
            "x_adv": image,
            "z0": (IMAGES, LATENT_SIZE),
            "z": (IMAGES, LATENT_SIZE),
            "y": (IMAGES,),
            "target": (IMAGES,),
            "steps": (IMAGES,),
            "index": (IMAGES,),
            "path": (IMAGES, 4, LATENT_SIZE),
            "victim_probs": classes,
            "judge_probs": classes,
            "f2_probs": classes,
            "judge_member_probs": (IMAGES, 3, 3),
            "cam_x": (IMAGES, 3, 4, 4),
            "cam_x_adv": (IMAGES, 3, 4, 4),
        }
        assert {name: shapes[name] for name in expected} == expected
        assert all(value.isfinite().all() for value in attack_run.tensors.values())

    def test_x_are_correctly_classified_test_images(self, attack_run: AttackRun, splits: ImageSplits) -> None:
        tensors, index = attack_run.tensors, attack_run.tensors["index"]
        assert torch.equal(tensors["x"], splits.test.images[index].float() / 255)
        assert torch.equal(tensors["y"], splits.test.labels[index])
        assert torch.equal(tensors["victim_probs_x"].argmax(dim=1), tensors["y"])
        assert len(index.unique()) == IMAGES
        assert (tensors["target"] != tensors["y"]).all()
        assert set(tensors["target"].tolist()) <= {0, 1, 2}

    def test_x_adv_are_decoded_by_stored_generator(self, attack_run: AttackRun) -> None:
        generator = SVAE(1, 3, (16, 16), LATENT_SIZE, width=4, hidden=32)
        generator.load_state_dict(weights(attack_run, "generator"))
        generator.eval()
        tensors = attack_run.tensors
        with torch.no_grad():
            assert torch.allclose(generator.encode(tensors["x"]).mean, tensors["z0"], atol=1e-5)
            assert torch.allclose(generator.decode(tensors["z"]), tensors["x_adv"], atol=1e-5)
            assert torch.allclose(generator.classifier(tensors["z"]).softmax(dim=1), tensors["f2_probs"], atol=1e-5)
        assert tensors["x_adv"].min() >= 0
        assert tensors["x_adv"].max() <= 1
        assert (latent_distance(tensors) > 0).any()

    def test_probabilities_sum_to_one(self, attack_run: AttackRun) -> None:
        for name, value in attack_run.tensors.items():
            if "probs" in name:
                assert torch.allclose(value.sum(dim=-1), torch.ones(value.shape[:-1]), atol=1e-5), name
        assert torch.allclose(
            product_of_experts(attack_run.tensors["judge_member_probs"], dim=1),
            attack_run.tensors["judge_probs"],
            atol=1e-6,
        )

    @pytest.mark.parametrize("image", ["x", "x_adv"])
    def test_cams_sum_to_victim_logits(self, attack_run: AttackRun, image: str) -> None:
        """Differences of logits are differences of mean maps and of the linear layer's biases."""
        probs = attack_run.tensors["victim_probs_x" if image == "x" else "victim_probs"]
        maps, bias = attack_run.tensors[f"cam_{image}"], weights(attack_run, "victim")["classifier.bias"]
        logits = maps.mean(dim=(2, 3)) + bias
        assert torch.allclose(probs.log().diff(dim=1), logits.diff(dim=1), atol=1e-3)
        assert maps.std() > 0.01


class TestSummary:
    @pytest.mark.parametrize("criterion", [*CRITERIA, "judge_criterion_f2"])
    def test_rates_and_wilson_intervals_follow_from_tensors(self, attack_run: AttackRun, criterion: str) -> None:
        tensors, rows = attack_run.tensors, torch.arange(IMAGES)
        y, target, victim, judge = (tensors[name] for name in ("y", "target", "victim_probs", "judge_probs"))
        victim_criterion = (victim.argmax(dim=1) == y) & (victim[rows, y] >= CONFIDENCE)
        judge_criterion = judge.argmax(dim=1) == target
        met = {
            "victim_criterion": victim_criterion,
            "judge_criterion": judge_criterion,
            "success": victim_criterion & judge_criterion,
            "success_confident": victim_criterion & judge_criterion & (judge[rows, target] >= 0.9),
            "judge_criterion_f2": tensors["f2_probs"].argmax(dim=1) == target,
        }
        rate = met[criterion].double().mean().item()
        written = attack_run.summary[criterion]
        assert written["rate"] == pytest.approx(rate)
        # Wilson's interval ends where n(p − rate)² = z² p(1 − p).
        z2 = 1.959963984540054**2
        ends = np.roots([IMAGES + z2, -(2 * IMAGES * rate + z2), IMAGES * rate**2])
        assert [written["low"], written["high"]] == pytest.approx(sorted(ends.real), abs=1e-9)

    def test_some_criterion_is_met_by_some_images_only(self, attack_run: AttackRun) -> None:
        """Otherwise the test of the rates could not fail."""
        criteria = ("victim_criterion", "judge_criterion", "judge_criterion_f2")
        assert any(0 < attack_run.summary[criterion]["rate"] < 1 for criterion in criteria)

    def test_each_judge_member_has_its_own_rate(self, attack_run: AttackRun) -> None:
        tensors, summary = attack_run.tensors, attack_run.summary
        predicted = tensors["judge_member_probs"].argmax(dim=2)
        rates = (predicted == tensors["target"].unsqueeze(1)).double().mean(dim=0)
        members = [name for name in summary if name.startswith("judge_criterion_") and name != "judge_criterion_f2"]
        assert [summary[name]["rate"] for name in members] == pytest.approx(rates.tolist())

    def test_counts_seconds_and_accuracies(self, attack_run: AttackRun, splits: ImageSplits) -> None:
        summary = attack_run.summary
        assert (summary["images"], summary["steps"]) == (IMAGES, 2 * 6)  # six steps from each of two starts
        assert summary["seconds"] > 0
        for name in ("victim_accuracy", "judge_accuracy", "f2_accuracy"):
            correct = summary[name] * len(splits.test)
            assert correct == pytest.approx(round(correct), abs=1e-4)
        assert IMAGES / len(splits.test) <= summary["victim_accuracy"] <= 1


def test_results_csv_has_one_row_per_image(attack_run: AttackRun) -> None:
    tensors, rows = attack_run.tensors, attack_run.rows
    assert [int(row["index"]) for row in rows] == tensors["index"].tolist()
    assert [row["y"] for row in rows] == [CLASS_NAMES[label] for label in tensors["y"]]
    assert [row["target"] for row in rows] == [CLASS_NAMES[label] for label in tensors["target"]]
    assert [int(row["steps"]) for row in rows] == tensors["steps"].tolist()
    assert [float(row["distance"]) for row in rows] == pytest.approx(latent_distance(tensors).tolist(), abs=1e-4)
    for network in ("victim", "judge"):
        for suffix, column in (("", "x_adv"), ("_x", "x"), ("_reconstruction", "reconstruction")):
            confidence, label = tensors[f"{network}_probs{suffix}"].max(dim=1)
            assert [row[f"{network}_{column}"] for row in rows] == [CLASS_NAMES[number] for number in label]
            written = [float(row[f"{network}_{column}_confidence"]) for row in rows]
            assert written == pytest.approx(confidence.tolist(), abs=1e-6)
    for criterion in CRITERIA:
        rate = sum(int(row[criterion]) for row in rows) / IMAGES
        assert rate == pytest.approx(attack_run.summary[criterion]["rate"])


class TestFolder:
    def test_config_yaml_gives_the_same_settings(self, attack_run: AttackRun, tiny: list[str]) -> None:
        text = (attack_run.folder / "config.yaml").read_text()
        assert "${" not in text
        settings = settings_from(OmegaConf.create(text))
        assert (settings.selection.images, settings.attack.confidence) == (IMAGES, CONFIDENCE)
        assert settings.dataset.source["root"] == settings.dataset.root
        assert f"dataset.root={settings.dataset.root}" in tiny

    def test_events_follow_from_tensors(self, attack_run: AttackRun) -> None:
        events = EventAccumulator(str(attack_run.folder))
        events.Reload()
        success = events.Scalars("so_far/success")
        assert [event.step for event in success] == [0, 4, 8, 12]  # six steps from each of two starts
        assert success[-1].value == pytest.approx(attack_run.summary["success"]["rate"])
        assert len([tag for tag in events.Tags()["scalars"] if tag.startswith("objective/")]) > 3
        images = {f"pictures/{name}" for name in ("x", "reconstruction", "x_adv", "prior_samples")}
        figures = {f"figures/{name}" for name in ("dots_to_häuser", "häuser_to_dots", "pairs", "terms")}
        assert set(events.Tags()["images"]) == images | figures
        for name, values in attack_run.tensors.items():
            if name.startswith("term "):
                written = events.Scalars(f"objective/{name.removeprefix('term ').replace(' ', '_')}")
                medians = values.median(dim=0).values.tolist()
                assert [event.value for event in written] == pytest.approx(medians, rel=1e-5)

    def test_hparams_hold_overrides_and_summary(self, attack_run: AttackRun) -> None:
        keys, _, runs = read_hparams(attack_run.root)
        run = runs[attack_run.folder.name]
        always = {"dataset": "image_folder", "model/victim": "gap_cnn", "attack.confidence": CONFIDENCE, "seed": 0}
        assert always.items() <= run.hparams.items()
        assert run.hparams["selection.images"] == IMAGES  # an override of the command line
        assert set(run.hparams) <= set(keys)
        summary = attack_run.summary
        expected = {name: summary[name]["rate"] for name in CRITERIA}
        expected |= {name: summary[name] for name in ("seconds", "median_distance")}
        expected["successes_per_second"] = summary["success"]["rate"] * IMAGES / summary["seconds"]
        assert run.metrics_of("attack/") == pytest.approx(expected)

    def test_projector_has_codes_and_labels(self, attack_run: AttackRun) -> None:
        codes = np.loadtxt(attack_run.folder / "projector" / "codes.tsv", delimiter="\t")
        expected = torch.cat([attack_run.tensors["z0"], attack_run.tensors["z"]])
        assert codes == pytest.approx(expected.numpy(), abs=5e-4)
        rows = (attack_run.folder / "projector" / "labels.tsv").read_text().splitlines()[1:]
        assert [row.split("\t")[1:3] for row in rows] == [[row["y"], row["target"]] for row in attack_run.rows] * 2

    def test_stored_generator_has_image_events(self, attack_run: AttackRun, splits: ImageSplits) -> None:
        (folder,) = (attack_run.root / "outputs" / "models").glob("generator-*[0-9a-f]")
        events = EventAccumulator(str(folder))
        events.Reload()
        assert set(events.Tags()["images"]) == {
            f"pictures/{name}" for name in ("x", "reconstruction", "prior_samples")
        }
        (event,) = events.Images("pictures/x")
        grid = np.asarray(Image.open(BytesIO(event.encoded_image_string)).convert("L"), dtype=int)
        first = splits.validation.images[0, 0].numpy().astype(int)
        assert np.abs(grid[:16, :16] - first).max() <= 1

    def test_figures_are_there_and_not_blank(self, attack_run: AttackRun) -> None:
        figures = attack_run.folder / "figures"
        trajectories = ["dots_to_häuser", "häuser_to_dots"]
        expected = {f"{name}.png" for name in (*trajectories, "pairs", "terms", "trainings")}
        expected |= {f"{name}.gif" for name in trajectories}
        assert {path.name for path in figures.iterdir()} >= expected
        for path in [*figures.iterdir(), attack_run.folder / "trajectory.gif"]:
            with Image.open(path) as image:
                assert image.format == path.suffix[1:].upper()
                assert min(image.size) > 100
                low, high = image.convert("L").getextrema()
                assert high - low > 100, f"{path.name} is blank"

    def test_finished_run_leaves_no_temporary_files(self, attack_run: AttackRun) -> None:
        names = [path.name for path in attack_run.folder.rglob("*")]
        names += [Path(path).parent.name for path in attack_run.store]
        assert [name for name in names if name.endswith((".part", ".training")) or name.startswith("batch")] == []

    def test_store_has_recipe_and_metrics_of_each_model(self, attack_run: AttackRun) -> None:
        folders = [path for path in (attack_run.root / "outputs" / "models").iterdir() if path.is_dir()]
        roles = [path.name.split("-")[0] for path in folders]
        assert (roles.count("victim"), roles.count("generator"), roles.count("judge")) == (1, 1, 3)
        for folder in folders:
            assert json.loads((folder / "recipe.json").read_text())["role"] == folder.name.split("-")[0]
            assert all(math.isfinite(value) for value in json.loads((folder / "metrics.json").read_text()).values())


class TestOtherRuns:
    def test_same_seed_gives_identical_files(self, attack_run: AttackRun, tiny: list[str]) -> None:
        result = run_in_process([*tiny, "hydra.run.dir=second"], attack_run.root)
        assert result.code == 0, result.err
        for name in ("attack.safetensors", "results.csv"):
            assert (attack_run.root / "second" / name).read_bytes() == (attack_run.folder / name).read_bytes(), name
        assert stored_models(attack_run.root) == attack_run.store

    def test_other_seed_attacks_other_images_with_the_same_models(
        self, attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str]
    ) -> None:
        result = command(*tiny, "seed=1", f"outputs={attack_run.root / 'outputs'}", "hydra.run.dir=other")
        assert result.code == 0, result.err
        other = load_file("other/attack.safetensors")
        assert not torch.equal(other["index"], attack_run.tensors["index"])
        assert torch.equal(other["victim_probs_x"].argmax(dim=1), other["y"])
        assert stored_models(attack_run.root) == attack_run.store

    def test_mixed_precision_runs_to_its_end(self, command: Callable[..., CommandResult], tiny: list[str]) -> None:
        result = command(*tiny, "hardware.precision=bf16-mixed", "hydra.run.dir=mixed")
        assert result.code == 0, result.err
        tensors = load_file("mixed/attack.safetensors")
        assert tensors["x_adv"].dtype == torch.float32
        assert torch.allclose(tensors["victim_probs"].sum(dim=1), torch.ones(len(tensors["y"])), atol=1e-5)

    def test_target_every_attacks_each_pair_equally_often(
        self, attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str]
    ) -> None:
        overrides = ["selection.target=every", f"outputs={attack_run.root / 'outputs'}", "hydra.run.dir=every"]
        result = command(*tiny, *overrides)
        assert result.code == 0, result.err
        tensors = load_file("every/attack.safetensors")
        pairs = tensors["y"] * 3 + tensors["target"]
        assert pairs.bincount(minlength=9).tolist() == [0, 2, 2, 2, 0, 2, 2, 2, 0]
        assert Path("every/figures/matrix.png").exists()
