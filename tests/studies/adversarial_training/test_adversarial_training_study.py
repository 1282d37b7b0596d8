"""The study `adversarial_training`: its config, and a tiny run whose files follow from its tensors."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import AttackRun, CommandResult, compose, run_in_process, stored_models
from safetensors.torch import load_file
from torch import Tensor

from cam_adv.config.compose import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.metrics.clusters import connected_clusters
from cam_adv.metrics.intervals import clustered_rate
from cam_adv.studies.adversarial_training.effect import Change, check_control

TRAININGS = ("plain", "control", "type1", "type2 radius 2")
MEASURES = ("type1", "type1 at equal rank", "pgd")
CONFIDENCE = 0.4
IMAGES, VICTIMS = 8, 2


@pytest.fixture(scope="module")
def overrides(tiny: list[str]) -> list[str]:
    attacks = ("train", "attacks.type1", "attacks.pgd")
    small = ["trainings=[type1,type2]", "adversarial_radii=[2]", f"test_images={IMAGES}"]
    small += ["victims=[0,1]", "control_victims=[2,3]"]
    small += ["type1_images.images=10", "type1_images.share=0.3", "type1_images.refresh_epochs=2"]
    small += [f"{attack}.{one}" for attack in attacks for one in ("steps=4", "trace_points=2")]
    small += [f"{attack}.confidence={CONFIDENCE}" for attack in attacks[:2]]
    return [*tiny, "study=adversarial_training", *(f"study.{one}" for one in small)]


@dataclass(frozen=True)
class FinishedRun:
    """folder: of the run. before, after: the files of the model store, and when each was written."""

    folder: Path
    answer: CommandResult
    before: dict[str, int]
    after: dict[str, int]

    def tensors(self, training: str, measure: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{training}_{measure}.safetensors".replace(" ", "_"))

    def of(self, training: str, measure: str) -> dict[str, Tensor]:
        """The tensors of a measure; of plain victims equal rank is their own confidence."""
        return self.tensors(training, "type1" if training == "plain" and "equal rank" in measure else measure)

    def clusters(self, measure: str, *trainings: str) -> Tensor:
        """Of the images, by the starts of the victims of these trainings, `(IMAGES,)`."""
        starts = torch.cat([self.of(training, measure)["start"].flatten(0, 1) for training in trainings])
        return connected_clusters(torch.arange(IMAGES).repeat(len(starts) // IMAGES), starts)[:IMAGES]

    @property
    def root(self) -> Path:
        return self.folder.parent

    @property
    def content(self) -> dict:
        return json.loads((self.folder / "adversarial_training.json").read_text())


@pytest.fixture(scope="module")
def finished(overrides: list[str], attack_run: AttackRun, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A run on copies of the first study's models: it adds others, and that store is shared by all tests."""
    root = tmp_path_factory.mktemp("adversarial_training")
    shutil.copytree(attack_run.root / "outputs" / "models", root / "outputs" / "models")
    before = stored_models(root)
    answer = run_in_process([*overrides, "hydra.run.dir=finished"], root)
    assert answer.code == 0, answer.err
    return FinishedRun(root / "finished", answer, before, stored_models(root))


@pytest.mark.slow
class TestRun:
    def test_json_follows_from_the_tensors(self, finished: FinishedRun) -> None:
        content = finished.content
        assert tuple(content["trainings"]) == TRAININGS
        for training in TRAININGS:
            attacks = content["trainings"][training]["attacks"]
            assert tuple(attacks) == MEASURES
            for measure, cell in attacks.items():
                success, plain = (finished.of(one, measure)["success"].bool() for one in (training, "plain"))
                cluster = finished.clusters(measure, training).repeat(VICTIMS).tolist()
                assert cell["success"] == pytest.approx(vars(clustered_rate(success.flatten().tolist(), cluster)))
                if training == "plain":
                    assert "change" not in cell
                    continue
                difference = success.double() - plain.double()
                change = Change(difference, finished.clusters(measure, "plain", training))
                assert cell["change"] == pytest.approx(vars(change.interval(0.95)))
                if training == "control":
                    assert cell["does_nothing"] == check_control(change, content["min_effect"], 0.95).does_nothing
                else:  # eight images are too few
                    assert (cell["improves_robustness"], cell["reason"]) == ("withheld", "control undecided")

    def test_starts_are_those_of_the_attacks(self, finished: FinishedRun) -> None:
        """A latent attack's code and y; an attack on pixels starts at its own image."""
        latent, pixels = finished.tensors("type1", "type1"), finished.tensors("type1", "pgd")
        assert torch.equal(latent["start"][..., -1], latent["y"].expand(VICTIMS, -1).float())
        assert torch.equal(pixels["start"].squeeze(2), pixels["index"].expand(VICTIMS, -1))

    @pytest.mark.parametrize("training", TRAININGS)
    def test_success_asks_for_the_confidences_of_the_json(self, finished: FinishedRun, training: str) -> None:
        attacks = finished.content["trainings"][training]["attacks"]
        assert "confidences" not in attacks["pgd"]
        for measure in MEASURES[: 1 if training == "plain" else 2]:
            tensors, confidences = finished.tensors(training, measure), attacks[measure]["confidences"]
            assert measure != "type1" or confidences == [CONFIDENCE] * VICTIMS
            probs, y = tensors["victim_probs"], tensors["y"]
            own = probs.gather(2, y.expand(VICTIMS, -1).unsqueeze(2)).squeeze(2)
            keeps = (probs.argmax(dim=2) == y) & (own >= torch.tensor(confidences).unsqueeze(1))
            expected = keeps & (tensors["judge_reads"] == tensors["target"])
            assert torch.equal(expected, tensors["success"].bool())

    def test_clean_images_reach_the_confidence_of_equal_rank_as_often(
        self, finished: FinishedRun, splits: ImageSplits
    ) -> None:
        """On test images nearly, since the confidences come from validation images."""
        trainings = finished.content["trainings"]
        plain = trainings["plain"]["attacks"]["type1"]["clean_share"]["rate"]
        for training in TRAININGS[1:]:
            share = trainings[training]["attacks"]["type1 at equal rank"]["clean_share"]["rate"]
            assert abs(share - plain) <= 0.25, training

    def test_attacked_images_are_classified_correctly_by_every_victim(
        self, finished: FinishedRun, splits: ImageSplits
    ) -> None:
        first = finished.tensors("plain", "type1")
        for training, measure in (("type2 radius 2", "type1 at equal rank"), ("control", "pgd")):
            tensors = finished.tensors(training, measure)
            assert torch.equal(tensors["index"], first["index"])
            assert torch.equal(tensors["y"], splits.test.labels[tensors["index"]])
            torch.testing.assert_close(tensors["x"], splits.test.images[tensors["index"]].float() / 255)
        accuracies = [row["accuracy"]["rate"] for row in finished.content["trainings"].values()]
        assert min(accuracies) >= IMAGES / len(splits.test)

    def test_each_victim_has_its_own_store_entry(self, finished: FinishedRun) -> None:
        """One for each seed of each training; that of the plain victim with seed 0 was there."""
        new = {Path(path).parent for path in finished.after.keys() - finished.before.keys()}
        recipes = [json.loads((entry / "recipe.json").read_text()) for entry in new]
        made = {("type1_images" in one, one["training"]["adversarial_radius"], one["seed"]) for one in recipes}
        plain = {(False, 0, seed) for seed in (1, 2, 3)}
        assert made == plain | {(False, 2, seed) for seed in (0, 1)} | {(True, 0, seed) for seed in (0, 1)}
        assert len(new) == len(made)
        assert all(finished.after[path] == written for path, written in finished.before.items())

    def test_type1_images_are_made_of_training_images_and_labelled_as_their_target(
        self, finished: FinishedRun, splits: ImageSplits
    ) -> None:
        """They start at mu of their own image, so that no test starts where a victim was trained."""
        entries = [Path(path) for path in finished.after if "+type1" in path and path.endswith("model.ckpt")]
        assert len(entries) == VICTIMS
        states = [torch.load(path, weights_only=True)["state_dict"] for path in entries]
        images, other = (state["images"] for state in states)
        assert images.dtype == torch.uint8
        assert images.shape == (10, *splits.train.images.shape[1:])
        assert not torch.equal(images, other)  # made against another victim
        assert all(0 <= int(label) < 3 for label in states[0]["labels"])
        train = {image.numpy().tobytes() for image in splits.train.images}
        assert not any(image.numpy().tobytes() in train for image in splits.test.images)

    def test_verdicts_are_printed_and_the_figure_is_drawn(self, finished: FinishedRun) -> None:
        printed = " ".join(finished.answer.out.split())
        for text in finished.content["verdict_texts"]:
            assert text in printed
        assert (finished.folder / "figures" / "adversarial_training.png").stat().st_size > 0

    def test_second_run_retrains_nothing(
        self, finished: FinishedRun, command: Callable[..., CommandResult], overrides: list[str], tmp_path: Path
    ) -> None:
        some = [
            *overrides,
            "study.trainings=[type1]",
            f"outputs={finished.root / 'outputs'}",
            "hydra.run.dir=again",
            "figures=false",
        ]
        answer = command(*some)
        assert answer.code == 0, answer.err
        assert stored_models(finished.root) == finished.after
        content = json.loads((tmp_path / "again" / "adversarial_training.json").read_text())
        assert tuple(content["trainings"]) == TRAININGS[:3]
        assert not (tmp_path / "again" / "figures").exists()
        assert "Nothing is left to do" in command(*some, "resume=again").out


class TestConfig:
    @pytest.mark.parametrize(
        ("overrides", "what"),
        [
            (["attack@study.train=pgd"], "study.train is pgd"),
            (
                ["attack@study.train=type1_robust"],
                "study.train is type1_robust, which",
            ),
            (["attack@study.attacks.type1=pgd"], "no attack of type1"),
            (["study.trainings=[type1,type3]"], "type3"),
            (["study.trainings=[both,both]"], "one twice"),
            (["study.adversarial_radii=[1,0]"], "study.adversarial_radii"),
            (["study.adversarial_radii=[1,1.0]"], "one twice"),
            (["study.victims=[0,1]", "study.control_victims=[2]"], "study.control_victims=[2] has 1 seeds"),
            (["study.victims=[0]", "study.control_victims=[0]"], "name a seed twice"),
            (["study.type1_images.refresh_epochs=15"], "study.type1_images.refresh_epochs=15 makes no Type I image"),
            (
                ["study.train.init=[mean,real_image]", "study.attacks.type1.init=[real_image]"],
                "study.train and study.attacks.type1 start from the same real images",
            ),
            (["model.victim.training=null"], "comes trained"),
            (["model.victim.training.adversarial_radius=1"], "trains the victim against Type II already"),
            (["selection.target=11"], "selection.target=11"),
            (
                ["hardware.compile=true", "attack@study.attacks.type1=type1_cam"],
                "study.attacks.type1 (type1_cam) needs maps",
            ),
        ],
    )
    def test_invalid_values_raise(self, overrides: list[str], what: str) -> None:
        with pytest.raises(UserError) as refusal:
            settings_from(compose(["study=adversarial_training", *overrides]))
        assert what in refusal.value.what

    @pytest.mark.slow
    @pytest.mark.parametrize("override", ["study.type1_images.images=1000", "study.test_images=1000"])
    def test_too_many_images_raise_before_training(
        self, command: Callable[..., CommandResult], overrides: list[str], override: str, tmp_path: Path
    ) -> None:
        answer = command(*overrides, override)
        assert answer.code == 2
        assert override in answer.err
        assert not (tmp_path / "outputs" / "models").exists()

    def test_attacks_in_study_have_their_own_confidence(self) -> None:
        """Beside a main attack that has none."""
        config = compose(["study=adversarial_training", "attack=pgd", "study.attacks.type1.confidence=0.8"])
        attack = settings_from(config).study.attacks["type1"]
        assert attack.penalty["confidence"] == 0.8
        other = attack.with_confidence(0.3)
        assert (other.confidence, other.penalty["confidence"], attack.confidence) == (0.3, 0.3, 0.8)
