"""A tiny run of the study `attack` through the command line: every figure is computed again from its tensors."""

import csv
import json
import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CLASS_NAMES, AttackRun, CommandResult, page_data, read_hparams, run_in_process, stored_models
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cam_adv.config.compose import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.metrics.funnel import QUESTIONS
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.judge import reading_text
from cam_adv.studies.attack.study import count_starts

pytestmark = pytest.mark.slow

IMAGES, CONFIDENCE, LATENT_SIZE = 12, 0.4, 8
RESIDUAL_EPS = 1.0


def weights(attack_run: AttackRun, role: str) -> dict[str, torch.Tensor]:
    """The weights in the store of the one model of a role."""
    (path,) = (attack_run.root / "outputs" / "models").glob(f"{role}-*/model.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items()}


def generator(attack_run: AttackRun) -> SVAE:
    """The stored generator."""
    network = SVAE(1, 3, (16, 16), LATENT_SIZE, width=4, hidden=32)
    network.load_state_dict(weights(attack_run, "generator"))
    return network.eval()


def answers(tensors: dict[str, torch.Tensor], confidence: float = CONFIDENCE) -> dict[str, torch.Tensor]:
    """The answers to each question, from what was measured."""
    y, target, victim, reads = (tensors[name] for name in ("y", "target", "victim_probs", "judge_reads"))
    keeps = (victim.argmax(dim=1) == y) & (victim[torch.arange(len(y)), y] >= confidence)
    return {
        "attempted": y >= 0,
        "victim_keeps": keeps,
        "plausible": reads >= 0,
        "judge_reads_target": reads == target,
        "success": keeps & (reads == target),
        "judge_reads_source": reads == y,
        "judge_reads_nothing": reads == -1,
    }


def clustered_interval(met: np.ndarray, cluster: np.ndarray) -> list[float]:
    """The 95% interval of a rate whose trials depend on each other in clusters, from its definition.

    Wilson's interval ends where n(p − rate)² = z² p(1 − p); n is the number of trials over the design effect.
    """
    rate, trials = met.mean(), len(met)
    members = np.unique(cluster)[:, None] == cluster
    effect = largest = (members.sum(axis=1) ** 2).sum() / trials
    if 0 < rate < 1 and len(members) > 1:
        residuals = (members * (met - rate)).sum(axis=1)
        variance = len(members) / (len(members) - 1) * (residuals**2).sum() / trials
        effect = np.clip(variance / (rate * (1 - rate)), 1, largest)
    n, z2 = trials / effect, 1.959963984540054**2
    return sorted(np.roots([n + z2, -(2 * n * rate + z2), n * rate**2]).real)


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
            "judge_reads": (IMAGES,),
            "plausibility": (IMAGES,),
            "cluster": (IMAGES,),
            "residual_path": (IMAGES, 4, 1, 16, 16),
            "reconstruction": image,
            "start_image": image,
            "generated": image,
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

    def test_images_are_those_of_their_codes_by_the_stored_generator(self, attack_run: AttackRun) -> None:
        network, tensors = generator(attack_run), attack_run.tensors
        with torch.no_grad():
            assert torch.allclose(network.encode(tensors["x"]).mean, tensors["z0"], atol=1e-5)
            for code, image in (("z0", "reconstruction"), ("z_start", "start_image"), ("z", "generated")):
                assert torch.allclose(network.decode(tensors[code]), tensors[image], atol=1e-5), image
            assert torch.allclose(network.classifier(tensors["z"]).softmax(dim=1), tensors["f2_probs"], atol=1e-5)

    def test_x_adv_is_the_generated_image_with_a_residual_in_its_ball(self, attack_run: AttackRun) -> None:
        tensors = attack_run.tensors
        residual = tensors["residual_path"][:, -1]
        assert torch.allclose((tensors["generated"] + residual).clamp(0, 1), tensors["x_adv"], atol=1e-5)
        norms = residual.flatten(1).norm(dim=1)
        assert norms.max() <= RESIDUAL_EPS + 1e-5
        assert norms.max() > 0.01
        assert (tensors["residual_path"][:, 0] == 0).all()
        clipped = (tensors["x_adv"] - tensors["generated"]).flatten(1).norm(dim=1)
        assert [float(row["residual"]) for row in attack_run.rows] == pytest.approx(clipped.tolist(), abs=1e-5)
        assert attack_run.summary["median_residual"] == pytest.approx(clipped.median().item(), abs=1e-5)
        assert tensors["x_adv"].min() >= 0
        assert tensors["x_adv"].max() <= 1
        assert (latent_distance(tensors) > 0).any()

    def test_probabilities_sum_to_one(self, attack_run: AttackRun) -> None:
        for name, value in attack_run.tensors.items():
            if "probs" in name:
                assert torch.allclose(value.sum(dim=-1), torch.ones(value.shape[:-1]), atol=1e-5), name
        product = attack_run.tensors["judge_member_probs"].log().mean(dim=1).softmax(dim=1)
        assert torch.allclose(product, attack_run.tensors["judge_probs"], atol=1e-5)

    def test_judge_reads_its_likeliest_class_where_the_picture_is_plausible(self, attack_run: AttackRun) -> None:
        tensors, level = attack_run.tensors, OmegaConf.load(attack_run.folder / "config.yaml").model.judge.level
        likeliest = tensors["judge_probs"].argmax(dim=1)
        assert torch.equal(tensors["judge_reads"], torch.where(tensors["plausibility"] > level, likeliest, -1))
        assert tensors["plausibility"].min() > 0
        assert tensors["plausibility"].max() <= 1

    def test_clusters_are_of_results_with_equal_start_and_class(self, attack_run: AttackRun) -> None:
        """Each image starts at its own code here; see `test_target_every_…` for starts that are shared."""
        assert torch.equal(attack_run.tensors["z_start"], attack_run.tensors["z0"])
        assert sorted(attack_run.tensors["cluster"].tolist()) == list(range(IMAGES))
        assert attack_run.summary["clusters"] == IMAGES

    @pytest.mark.parametrize("image", ["x", "x_adv"])
    def test_cams_sum_to_victim_logits(self, attack_run: AttackRun, image: str) -> None:
        """Differences of logits are differences of mean maps and of the linear layer's biases."""
        probs = attack_run.tensors["victim_probs_x" if image == "x" else "victim_probs"]
        maps, bias = attack_run.tensors[f"cam_{image}"], weights(attack_run, "victim")["classifier.bias"]
        logits = maps.mean(dim=(2, 3)) + bias
        assert torch.allclose(probs.log().diff(dim=1), logits.diff(dim=1), atol=1e-3)
        assert maps.std() > 0.01


class TestSummary:
    @pytest.mark.parametrize("question", [*QUESTIONS, "f2_reads_perceived"])
    def test_rates_and_intervals_follow_from_tensors(self, attack_run: AttackRun, question: str) -> None:
        tensors = attack_run.tensors
        met = answers(tensors) | {"f2_reads_perceived": tensors["f2_probs"].argmax(dim=1) == tensors["target"]}
        written = attack_run.summary[question]
        assert written["rate"] == pytest.approx(met[question].double().mean().item())
        estimated = clustered_interval(met[question].double().numpy(), tensors["cluster"].numpy())
        interval = (1, 1) if question == "attempted" else estimated  # that every image was attempted is no estimate
        assert [written["low"], written["high"]] == pytest.approx(interval, abs=1e-6)

    def test_some_question_has_different_answers(self, attack_run: AttackRun) -> None:
        """Otherwise the test of the rates could not fail."""
        questions = (*QUESTIONS, "f2_reads_perceived")
        assert any(0 < attack_run.summary[question]["rate"] < 1 for question in questions)

    def test_has_no_other_rate_and_names_the_classes(self, attack_run: AttackRun) -> None:
        summary = attack_run.summary
        rates = {name for name, value in summary.items() if isinstance(value, dict)}
        # There is one start only, so no rate of each start.
        assert rates == {*QUESTIONS, "f2_reads_perceived", "generated_reads_perceived"}
        assert (summary["kind"], summary["class_names"]) == ("type1", list(CLASS_NAMES))

    def test_preconditions_follow_from_the_stored_models(self, attack_run: AttackRun, splits: ImageSplits) -> None:
        """Those of the generator, computed again; those of the judge are shares of the test images."""
        summary, test = attack_run.summary, splits.test
        with torch.no_grad():
            posterior = generator(attack_run).encode(test.images.float() / 255)
        of_the_mean, noise = posterior.mean.double().var(dim=0), posterior.std.double().square().mean(dim=0)
        assert summary["active_latents"] == int((of_the_mean / (of_the_mean + noise) > 0.01).sum())
        for name in ("judge_accepts", "judge_read", "reconstruction_read"):
            assert summary[name] * len(test) == pytest.approx(round(summary[name] * len(test)), abs=1e-6)
        assert summary["judge_accepts"] * summary["judge_right"] == pytest.approx(summary["judge_read"])

    def test_generator_that_cannot_carry_the_images_makes_no_claim(self, attack_run: AttackRun) -> None:
        """It was trained for six epochs of a hundred images."""
        assert attack_run.summary["reconstruction_read"] < 0.8
        assert any("cannot carry this dataset" in warning for warning in attack_run.summary["warnings"])

    def test_distances_follow_from_tensors(self, attack_run: AttackRun, splits: ImageSplits) -> None:
        """To real images, by a search among all; the codes by the stored generator."""
        tensors, summary, network = attack_run.tensors, attack_run.summary, generator(attack_run)
        with torch.no_grad():
            codes = {
                name: network.encode(part.images.float() / 255).mean
                for name, part in (("train", splits.train), ("test", splits.test))
            }
        on_manifold, others = [], []
        for row in range(IMAGES):
            own, real = (part.labels == tensors["target"][row] for part in (splits.train, splits.test))
            nearest = (codes["train"][own] - tensors["z"][row]).norm(dim=1).min()
            of_real = torch.cdist(codes["test"][real], codes["train"][own]).amin(dim=1)
            rank = (of_real < nearest).double().mean()
            assert tensors["distance_code_nearest"][row].item() == pytest.approx(nearest.item(), abs=1e-4)
            assert tensors["distance_code_nearest_rank"][row].item() == pytest.approx(rank.item(), abs=0.02)
            on_manifold.append(tensors["distance_code_nearest_rank"][row] <= 0.99)
            same = (tensors["target"] == tensors["target"][row]) & (torch.arange(IMAGES) != row)
            between = (tensors["x_adv"][same] - tensors["x_adv"][row]).flatten(1).norm(dim=1)
            others.append(between.min().item() if same.any() else torch.inf)
        assert tensors["distance_other"].tolist() == pytest.approx(others, abs=1e-3)
        assert summary["codes_on_manifold"] == pytest.approx(torch.stack(on_manifold).double().mean().item())
        threshold = torch.quantile(tensors["distance_other_real"], 0.01)
        copies = (tensors["distance_other"] < threshold).double().mean()
        assert summary["copy_rate"] == pytest.approx(copies.item())

    def test_counts_seconds_and_accuracies(self, attack_run: AttackRun, splits: ImageSplits) -> None:
        summary = attack_run.summary
        assert (summary["images"], summary["steps"]) == (IMAGES, 6)
        assert summary["seconds"] > 0
        for name in ("victim_accuracy", "judge_accuracy", "f2_accuracy"):
            correct = summary[name] * len(splits.test)
            assert correct == pytest.approx(round(correct), abs=1e-4)
        assert IMAGES / len(splits.test) <= summary["victim_accuracy"] <= 1


def test_results_csv_has_one_row_per_image(attack_run: AttackRun) -> None:
    tensors, rows = attack_run.tensors, attack_run.rows
    level = OmegaConf.load(attack_run.folder / "config.yaml").model.judge.level
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
    for suffix, column in (("", "x_adv"), ("_x", "x"), ("_reconstruction", "reconstruction")):
        likeliest = tensors[f"judge_probs{suffix}"].argmax(dim=1)
        reads = [row[f"judge_reads_{column}"] for row in rows]
        assert all(read in ("nothing", CLASS_NAMES[label]) for read, label in zip(reads, likeliest, strict=True))
        nothing = [float(row[f"plausibility_{column}"]) <= level for row in rows]
        assert [read == "nothing" for read in reads] == nothing
    assert [row["judge_reads_x_adv"] for row in rows] == [
        reading_text(reading, CLASS_NAMES) for reading in tensors["judge_reads"].tolist()
    ]
    assert [float(row["plausibility_x_adv"]) for row in rows] == pytest.approx(
        tensors["plausibility"].tolist(), abs=1e-6
    )
    assert [int(row["cluster"]) for row in rows] == tensors["cluster"].tolist()
    for question, met in answers(tensors).items():
        if question != "attempted":  # that is every row
            assert [row[question] for row in rows] == [str(int(one)) for one in met]


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
        success = events.Scalars("attack/so_far_success")
        assert [event.step for event in success] == [0, 2, 4, 6]
        assert success[-1].value == pytest.approx(attack_run.summary["success"]["rate"])
        assert len([tag for tag in events.Tags()["scalars"] if tag.startswith("attack/term_")]) > 3
        images = {f"views/{name}" for name in ("x", "reconstruction", "x_adv", "prior_samples")}
        figures = {f"figures/{name}" for name in ("dots_to_häuser", "häuser_to_dots", "pairs", "terms")}
        assert set(events.Tags()["images"]) == images | figures
        for name, values in attack_run.tensors.items():
            if name.startswith("term "):
                written = events.Scalars(f"attack/term_{name.removeprefix('term ').replace(' ', '_')}")
                medians = values.median(dim=0).values.tolist()
                assert [event.value for event in written] == pytest.approx(medians, rel=1e-5)

    def test_hparams_hold_overrides_and_summary(self, attack_run: AttackRun) -> None:
        keys, _, runs = read_hparams(attack_run.root)
        run = runs[f"{attack_run.folder.name} of {attack_run.folder.parent}"]
        always = {"dataset": "image_folder", "model/victim": "gap_cnn", "attack.confidence": CONFIDENCE, "seed": 0}
        assert always.items() <= run.hparams.items()
        assert run.hparams["selection.images"] == IMAGES  # an override of the command line
        assert set(run.hparams) <= set(keys)
        summary = attack_run.summary
        questions = ("success", "judge_reads_target", "plausible", "victim_keeps")
        expected = [summary[name]["rate"] for name in questions] + [summary["seconds"], summary["median_distance"]]
        expected.append(summary["success"]["rate"] * IMAGES / summary["seconds"])
        assert [*run.metrics_of("attack-result/").values()] == pytest.approx(expected)

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
        assert set(events.Tags()["images"]) == {f"views/{name}" for name in ("x", "reconstruction", "prior_samples")}
        (event,) = events.Images("views/x")
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

    def test_page_shows_what_the_tensors_hold(self, attack_run: AttackRun) -> None:
        data, tensors = page_data(attack_run.folder / "report.html"), attack_run.tensors
        rows = data["rows"]
        assert [row["index"] for row in rows] == tensors["index"].tolist()
        own = tensors["victim_probs"].gather(1, tensors["y"].unsqueeze(1)).squeeze(1)
        assert [row["victim"] for row in rows] == pytest.approx(own.tolist(), abs=1e-4)
        assert [data["ends"][row["end"]] == "success" for row in rows] == answers(tensors)["success"].tolist()
        lost = [data["ends"][row["end"]] == "the victim does not keep y" for row in rows]
        assert lost == (~answers(tensors)["victim_keeps"]).tolist()
        for number, row in enumerate(rows):
            walk = row["walk"]
            assert walk["classes"] == [0, 1, 2]
            steps = ["x", "step 0", "step 2", "step 4"]  # of 6, in four points; a walk that has stopped has fewer
            assert walk["frames"] == [*steps[: len(walk["frames"]) - 1], "x′"]
            for name in ("victim", "judge", "f2"):
                last = [1000 * value for value in tensors[f"{name}_probs"][number].tolist()]
                assert walk["answers"][name][-1] == pytest.approx(last, abs=0.6)
            first = [1000 * value for value in tensors["victim_probs_x"][number].tolist()]
            assert walk["answers"]["victim"][0] == pytest.approx(first, abs=0.6)
            assert walk["reads"][-1] == tensors["judge_reads"][number]
            term = tensors["term J1 victim"][number]
            assert walk["terms"]["J₁: cross-entropy of the victim"][-1] == pytest.approx(term[-1].item(), rel=1e-3)

    def test_page_has_few_bytes_and_the_command_that_repeats_the_run(self, attack_run: AttackRun) -> None:
        text = (attack_run.folder / "report.html").read_text()
        assert len(text) < IMAGES * 25_000
        assert f"cam-adv from={attack_run.folder}\n" in text.replace("</pre>", "\n")
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")

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
        """And a stricter judge, which 12 held-out images allow to take a picture for nothing."""
        overrides = [
            "seed=1",
            "model.judge.level=0.1",
            f"outputs={attack_run.root / 'outputs'}",
            "study.report_images=3",
        ]
        result = command(*tiny, *overrides, "hydra.run.dir=other")
        assert result.code == 0, result.err
        other = load_file("other/attack.safetensors")
        assert not torch.equal(other["index"], attack_run.tensors["index"])
        shown = [row["index"] for row in page_data(Path("other/report.html"))["rows"]]
        assert shown == other["index"][[0, 6, 11]].tolist()
        assert torch.equal(other["victim_probs_x"].argmax(dim=1), other["y"])
        assert stored_models(attack_run.root) == attack_run.store
        with Path("other/results.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        nothing = other["judge_reads"] == -1
        assert nothing.any()
        assert [row["judge_reads_x_adv"] == "nothing" for row in rows] == nothing.tolist()
        assert [row["plausible"] for row in rows] == [str(int(not one)) for one in nothing]
        assert json.loads(Path("other/summary.json").read_text())["plausible"]["rate"] == 1 - nothing.double().mean()

    def test_mixed_precision_runs_to_its_end(self, command: Callable[..., CommandResult], tiny: list[str]) -> None:
        result = command(*tiny, "hardware.precision=bf16-mixed", "hydra.run.dir=mixed")
        assert result.code == 0, result.err
        tensors = load_file("mixed/attack.safetensors")
        assert tensors["x_adv"].dtype == torch.float32
        assert torch.allclose(tensors["victim_probs"].sum(dim=1), torch.ones(len(tensors["y"])), atol=1e-5)

    def test_target_every_attacks_each_pair_equally_often(
        self, attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str]
    ) -> None:
        """From few real images, so that results share their start: the intervals are wider for it."""
        starts = ["attack.init=[mean,real_image]", "attack.init_candidates=1", "attack.restart_below_prob=0.999"]
        overrides = ["selection.target=every", f"outputs={attack_run.root / 'outputs'}", "hydra.run.dir=every"]
        result = command(*tiny, *starts, *overrides)
        assert result.code == 0, result.err
        tensors = load_file("every/attack.safetensors")
        pairs = tensors["y"] * 3 + tensors["target"]
        assert pairs.bincount(minlength=9).tolist() == [0, 2, 2, 2, 0, 2, 2, 2, 0]
        assert Path("every/figures/matrix.png").exists()
        same_start = (tensors["z_start"].unsqueeze(1) == tensors["z_start"]).all(dim=2)
        same = same_start & (tensors["y"].unsqueeze(1) == tensors["y"])
        assert torch.equal(same, tensors["cluster"].unsqueeze(1) == tensors["cluster"])
        assert len(tensors["cluster"].unique()) < IMAGES
        summary = json.loads(Path("every/summary.json").read_text())
        assert summary["clusters"] == len(tensors["cluster"].unique())
        met = answers(tensors)
        for number, start in enumerate(("mean", "real_image")):
            rows = tensors["start"] == number
            assert summary[f"from_{start}"] == int(rows.sum())
            assert (f"success_from_{start}" in summary) == bool(rows.any())
            if rows.any():
                met[f"success_from_{start}"] = met["success"][rows]
        cluster_of = {name: tensors["cluster"][tensors["start"] == 0] for name in ("success_from_mean",)}
        cluster_of["success_from_real_image"] = tensors["cluster"][tensors["start"] == 1]
        del met["attempted"]
        for question, answer in met.items():
            written, cluster = summary[question], cluster_of.get(question, tensors["cluster"])
            assert written["rate"] == pytest.approx(answer.double().mean().item()), question
            interval = clustered_interval(answer.double().numpy(), cluster.numpy())
            assert [written["low"], written["high"]] == pytest.approx(interval, abs=1e-6), question


def test_starts_of_one_name_are_counted_together() -> None:
    counts = count_starts(torch.tensor([0, 2, 1, 0]), ["real_image", "mean", "real_image"])
    assert counts == {"real_image": 3, "mean": 1}
    assert count_starts(torch.tensor([0]), ["mean", "real_image"]) == {"mean": 1, "real_image": 0}
