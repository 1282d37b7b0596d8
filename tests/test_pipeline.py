"""A whole tiny study through the command line, and what it leaves: every figure is computed anew from the tensors."""

import json
import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASS_NAMES, Answer, Study, called, compared, stored
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cam_adv.config import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.networks.ensemble import joint
from cam_adv.networks.svae import SVAE
from cam_adv.report.gallery import draw_walk
from cam_adv.report.strip import Frame

IMAGES, CONFIDENCE, LATENT = 12, 0.4, 8


def weights(study: Study, role: str) -> dict[str, torch.Tensor]:
    """What the store keeps of the one model of a role."""
    (path,) = (study.root / "outputs" / "models").glob(f"{role}-*/model.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items()}


def distance(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return (tensors["z"] - tensors["z0"]).norm(dim=1)


class TestTensors:
    def test_are_all_there(self, study: Study) -> None:
        shapes = {name: tuple(value.shape) for name, value in study.tensors.items()}
        image, classes = (IMAGES, 1, 16, 16), (IMAGES, 3)
        expected = {
            "x": image,
            "x_adv": image,
            "z0": (IMAGES, LATENT),
            "z": (IMAGES, LATENT),
            "y": (IMAGES,),
            "target": (IMAGES,),
            "steps": (IMAGES,),
            "index": (IMAGES,),
            "path": (IMAGES, 4, LATENT),
            "victim_probs": classes,
            "judge_probs": classes,
            "f2_probs": classes,
            "judge_member_probs": (IMAGES, 3, 3),
            "cam_x": (IMAGES, 3, 4, 4),
            "cam_x_adv": (IMAGES, 3, 4, 4),
        }
        assert {name: shapes[name] for name in expected} == expected
        assert all(value.isfinite().all() for value in study.tensors.values())

    def test_x_are_test_images_that_the_victim_knows(self, study: Study, splits: ImageSplits) -> None:
        tensors, index = study.tensors, study.tensors["index"]
        assert torch.equal(tensors["x"], splits.test.images[index].float() / 255)
        assert torch.equal(tensors["y"], splits.test.labels[index])
        assert torch.equal(tensors["victim_probs_x"].argmax(dim=1), tensors["y"])
        assert len(index.unique()) == IMAGES
        assert (tensors["target"] != tensors["y"]).all()
        assert set(tensors["target"].tolist()) <= {0, 1, 2}

    def test_x_adv_are_drawn_by_the_stored_generator(self, study: Study) -> None:
        generator = SVAE(1, 3, (16, 16), LATENT, width=4, hidden=32)
        generator.load_state_dict(weights(study, "generator"))
        generator.eval()
        tensors = study.tensors
        with torch.no_grad():
            assert torch.allclose(generator.encode(tensors["x"]).mean, tensors["z0"], atol=1e-5)
            assert torch.allclose(generator.generate(tensors["z"]), tensors["x_adv"], atol=1e-5)
            assert torch.allclose(generator.classifier(tensors["z"]).softmax(dim=1), tensors["f2_probs"], atol=1e-5)
        assert tensors["x_adv"].min() >= 0
        assert tensors["x_adv"].max() <= 1
        assert (distance(tensors) > 0).any()

    def test_probabilities_are_such(self, study: Study) -> None:
        for name, value in study.tensors.items():
            if "probs" in name:
                assert torch.allclose(value.sum(dim=-1), torch.ones(value.shape[:-1]), atol=1e-5), name
        assert torch.allclose(
            joint(study.tensors["judge_member_probs"], dim=1), study.tensors["judge_probs"], atol=1e-6
        )

    @pytest.mark.parametrize("picture", ["x", "x_adv"])
    def test_maps_explain_the_victim(self, study: Study, picture: str) -> None:
        """Differences of logits are differences of mean maps and of the linear layer's biases."""
        probs = study.tensors["victim_probs_x" if picture == "x" else "victim_probs"]
        maps, bias = study.tensors[f"cam_{picture}"], weights(study, "victim")["classifier.bias"]
        logits = maps.mean(dim=(2, 3)) + bias
        assert torch.allclose(probs.log().diff(dim=1), logits.diff(dim=1), atol=1e-3)
        assert maps.std() > 0.01


class TestFigures:
    @pytest.mark.parametrize("question", ["kept", "changed", "success", "success_confident", "changed_f2"])
    def test_rates_follow_from_the_tensors(self, study: Study, question: str) -> None:
        tensors, rows = study.tensors, torch.arange(IMAGES)
        y, target, victim, judge = (tensors[name] for name in ("y", "target", "victim_probs", "judge_probs"))
        kept = (victim.argmax(dim=1) == y) & (victim[rows, y] >= CONFIDENCE)
        changed = judge.argmax(dim=1) == target
        answers = {
            "kept": kept,
            "changed": changed,
            "success": kept & changed,
            "success_confident": kept & changed & (judge[rows, target] >= 0.9),
            "changed_f2": tensors["f2_probs"].argmax(dim=1) == target,
        }
        share = answers[question].double().mean().item()
        figure = study.summary[question]
        assert figure["rate"] == pytest.approx(share)
        # Wilson's interval ends where n(p − share)² = z² p(1 − p).
        z2 = 1.959963984540054**2
        ends = np.roots([IMAGES + z2, -(2 * IMAGES * share + z2), IMAGES * share**2])
        assert [figure["low"], figure["high"]] == pytest.approx(sorted(ends.real), abs=1e-9)

    def test_some_are_kept_and_some_are_not(self, study: Study) -> None:
        """The tests of the rates could fail: they aren't all 0 or all 1."""
        rates = [study.summary[question]["rate"] for question in ("kept", "changed", "changed_f2")]
        assert any(0 < rate < 1 for rate in rates)

    def test_members_of_the_judge_are_told_apart(self, study: Study) -> None:
        alone = (study.tensors["judge_member_probs"].argmax(dim=2) == study.tensors["target"].unsqueeze(1)).double()
        members = [name for name in study.summary if name.startswith("changed_") and name != "changed_f2"]
        assert [study.summary[name]["rate"] for name in members] == pytest.approx(alone.mean(dim=0).tolist())

    def test_figures_of_the_run(self, study: Study, splits: ImageSplits) -> None:
        summary = study.summary
        assert (summary["images"], summary["steps"]) == (IMAGES, 2 * 6)  # six steps from each of two starts
        assert summary["seconds"] > 0
        for who in ("victim_accuracy", "judge_accuracy", "f2_accuracy"):
            right = summary[who] * len(splits.test)
            assert right == pytest.approx(round(right), abs=1e-4)
        assert IMAGES / len(splits.test) <= summary["victim_accuracy"] <= 1

    def test_one_row_for_each_image(self, study: Study) -> None:
        tensors, rows = study.tensors, study.rows
        assert [int(row["index"]) for row in rows] == tensors["index"].tolist()
        assert [row["y"] for row in rows] == [CLASS_NAMES[label] for label in tensors["y"]]
        assert [row["target"] for row in rows] == [CLASS_NAMES[label] for label in tensors["target"]]
        assert [int(row["steps"]) for row in rows] == tensors["steps"].tolist()
        assert [float(row["distance"]) for row in rows] == pytest.approx(distance(tensors).tolist(), abs=1e-4)
        for who in ("victim", "judge"):
            for suffix, column in (("", "x_adv"), ("_x", "x"), ("_reconstruction", "reconstruction")):
                confidence, label = tensors[f"{who}_probs{suffix}"].max(dim=1)
                assert [row[f"{who}_{column}"] for row in rows] == [CLASS_NAMES[number] for number in label]
                written = [float(row[f"{who}_{column}_confidence"]) for row in rows]
                assert written == pytest.approx(confidence.tolist(), abs=1e-6)
        for question in ("kept", "changed", "success", "success_confident"):
            share = sum(int(row[question]) for row in rows) / IMAGES
            assert share == pytest.approx(study.summary[question]["rate"])


class TestFolder:
    def test_config_gives_the_same_settings(self, study: Study, tiny: list[str]) -> None:
        text = (study.folder / "config.yaml").read_text()
        assert "${" not in text
        settings = settings_from(OmegaConf.create(text))
        assert (settings.attack.images, settings.attack.confidence) == (IMAGES, CONFIDENCE)
        assert settings.dataset.source["root"] == settings.dataset.root
        assert f"dataset.root={settings.dataset.root}" in tiny

    def test_events(self, study: Study) -> None:
        events = EventAccumulator(str(study.folder))
        events.Reload()
        success = events.Scalars("so_far/success")
        assert [event.step for event in success] == [0, 4, 8, 12]  # six steps from each of two starts
        assert success[-1].value == pytest.approx(study.summary["success"]["rate"])
        assert len([tag for tag in events.Tags()["scalars"] if tag.startswith("objective/")]) > 3
        pictures = {f"pictures/{name}" for name in ("x", "reconstruction", "x_adv", "prior_samples")}
        figures = {f"figures/{name}" for name in ("dots_to_häuser", "häuser_to_dots", "pairs", "terms")}
        assert set(events.Tags()["images"]) == pictures | figures
        for name, values in study.tensors.items():
            if name.startswith("term "):
                written = events.Scalars(f"objective/{name.removeprefix('term ').replace(' ', '_')}")
                medians = values.median(dim=0).values.tolist()
                assert [event.value for event in written] == pytest.approx(medians, rel=1e-5)

    def test_is_compared_with_other_runs(self, study: Study) -> None:
        keys, _, runs = compared(study.root)
        run = runs[study.folder.name]
        asked = {"dataset": "image_folder", "model/victim": "gap_cnn", "attack.confidence": CONFIDENCE, "seed": 0}
        assert asked.items() <= run.asked.items()
        assert run.asked["attack.images"] == IMAGES  # the command line said so
        assert set(run.asked) <= set(keys)
        summary = study.summary
        figures = {name: summary[name]["rate"] for name in ("success", "kept", "changed", "success_confident")}
        figures |= {name: summary[name] for name in ("seconds", "median_distance")}
        figures["successes_per_second"] = summary["success"]["rate"] * IMAGES / summary["seconds"]
        assert run.came_out("attack/") == pytest.approx(figures)

    def test_latent_space(self, study: Study) -> None:
        codes = np.loadtxt(study.folder / "projector" / "codes.tsv", delimiter="\t")
        assert codes == pytest.approx(torch.cat([study.tensors["z0"], study.tensors["z"]]).numpy(), abs=5e-4)
        rows = (study.folder / "projector" / "labels.tsv").read_text().splitlines()[1:]
        assert [row.split("\t")[1:3] for row in rows] == [[row["y"], row["target"]] for row in study.rows] * 2

    def test_generator_shows_what_it_learnt(self, study: Study, splits: ImageSplits) -> None:
        (folder,) = (study.root / "outputs" / "models").glob("generator-*[0-9a-f]")
        events = EventAccumulator(str(folder))
        events.Reload()
        assert set(events.Tags()["images"]) == {
            f"pictures/{name}" for name in ("x", "reconstruction", "prior_samples")
        }
        (event,) = events.Images("pictures/x")
        sheet = np.asarray(Image.open(BytesIO(event.encoded_image_string)).convert("L"), dtype=int)
        first = splits.validation.images[0, 0].numpy().astype(int)
        assert np.abs(sheet[:16, :16] - first).max() <= 1

    def test_pictures(self, study: Study) -> None:
        figures = study.folder / "figures"
        walks = ["dots_to_häuser", "häuser_to_dots"]
        expected = {f"{name}.png" for name in (*walks, "pairs", "terms", "trainings")}
        expected |= {f"{name}.gif" for name in walks}
        assert {path.name for path in figures.iterdir()} >= expected
        for path in [*figures.iterdir(), study.folder / "trajectory.gif"]:
            with Image.open(path) as picture:
                assert picture.format == path.suffix[1:].upper()
                assert min(picture.size) > 100
                low, high = picture.convert("L").getextrema()
                assert high - low > 100, f"{path.name} is blank"

    def test_nothing_unfinished_is_left(self, study: Study) -> None:
        names = [path.name for path in study.folder.rglob("*")] + [Path(path).parent.name for path in study.store]
        assert [name for name in names if name.endswith((".part", ".training")) or name.startswith("batch")] == []

    def test_store_has_a_recipe_and_figures_for_each_model(self, study: Study) -> None:
        folders = [path for path in (study.root / "outputs" / "models").iterdir() if path.is_dir()]
        roles = [path.name.split("-")[0] for path in folders]
        assert (roles.count("victim"), roles.count("generator"), roles.count("judge")) == (1, 1, 3)
        for folder in folders:
            assert json.loads((folder / "recipe.json").read_text())["role"] == folder.name.split("-")[0]
            assert all(math.isfinite(value) for value in json.loads((folder / "metrics.json").read_text()).values())


class TestAgain:
    def test_the_same_seed_gives_the_same_bits(self, study: Study, tiny: list[str]) -> None:
        answer = called([*tiny, "hydra.run.dir=second"], study.root)
        assert answer.code == 0, answer.err
        for name in ("attack.safetensors", "results.csv"):
            assert (study.root / "second" / name).read_bytes() == (study.folder / name).read_bytes(), name
        assert stored(study.root) == study.store

    def test_another_seed_gives_other_images(
        self, study: Study, command: Callable[..., Answer], tiny: list[str]
    ) -> None:
        answer = command(*tiny, "seed=1", f"outputs={study.root / 'outputs'}", "hydra.run.dir=other")
        assert answer.code == 0, answer.err
        other = load_file("other/attack.safetensors")
        assert not torch.equal(other["index"], study.tensors["index"])
        assert torch.equal(other["victim_probs_x"].argmax(dim=1), other["y"])
        assert stored(study.root) == study.store

    def test_mixed_precision_goes_all_the_way(self, command: Callable[..., Answer], tiny: list[str]) -> None:
        answer = command(*tiny, "hardware.precision=bf16-mixed", "hydra.run.dir=mixed")
        assert answer.code == 0, answer.err
        tensors = load_file("mixed/attack.safetensors")
        assert tensors["x_adv"].dtype == torch.float32
        assert torch.allclose(tensors["victim_probs"].sum(dim=1), torch.ones(len(tensors["y"])), atol=1e-5)

    def test_every_pair_fills_the_matrix(self, study: Study, command: Callable[..., Answer], tiny: list[str]) -> None:
        overrides = ["attack.target=every", f"outputs={study.root / 'outputs'}", "hydra.run.dir=every"]
        answer = command(*tiny, *overrides)
        assert answer.code == 0, answer.err
        tensors = load_file("every/attack.safetensors")
        pairs = tensors["y"] * 3 + tensors["target"]
        assert pairs.bincount(minlength=9).tolist() == [0, 2, 2, 2, 0, 2, 2, 2, 0]
        assert Path("every/figures/matrix.png").exists()


def test_class_names_need_not_be_file_names(tmp_path: Path) -> None:
    """One of FashionMNIST's classes is T-shirt/top."""
    names = ("T-shirt/top", "Sneaker")
    image, cam = torch.rand(1, 8, 8), torch.tensor([[1.0, -3.0], [0.5, 0.0]])
    frames = [Frame(image, cam, 1, 0.9, 1, 0.9, caption) for caption in ("x", "0", "1", "2")]
    draw_walk(frames, "Sneaker", "T-shirt/top", names, tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".gif", ".png"]
