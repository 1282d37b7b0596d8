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
from cam_adv.metrics.answers import all_hold
from cam_adv.metrics.intervals import wilson
from cam_adv.studies.adversarial_training.effect import measure_effect

TRAININGS = ("none", "type1", "type2", "both")
KINDS = {"type1": "type1", "type2_latent": "type2", "pgd": "type2"}
CONFIDENCE = 0.4


@pytest.fixture(scope="module")
def overrides(tiny: list[str]) -> list[str]:
    attacks = ("train", *(f"attacks.{name}" for name in KINDS))
    small = ["images=20", "test_images=8", "share=0.3"]
    small += [f"{attack}.{one}" for attack in attacks for one in ("steps=4", "trace_points=2")]
    small += [f"{attack}.confidence={CONFIDENCE}" for attack in attacks if attack.endswith(("train", "type1"))]
    return [*tiny, "study=adversarial_training", *(f"study.{one}" for one in small)]


@dataclass(frozen=True)
class FinishedRun:
    """folder: of the run. before, after: the files of the model store, and when each was written."""

    folder: Path
    answer: CommandResult
    before: dict[str, int]
    after: dict[str, int]

    def tensors(self, training: str, attack: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{training}_{attack}.safetensors")

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
            assert {attack: cell["kind"] for attack, cell in attacks.items()} == KINDS
            for attack, cell in attacks.items():
                tensors, baseline = finished.tensors(training, attack), finished.tensors("none", attack)
                assert torch.equal(tensors["index"], baseline["index"])
                victim, reads = tensors["victim_probs"], tensors["judge_reads"]
                victim_label = victim.argmax(dim=1)
                y, target, rows = tensors["y"], tensors["target"], torch.arange(8)
                if KINDS[attack] == "type1":
                    success = (victim_label == y) & (victim[rows, y] >= CONFIDENCE) & (reads == target)
                else:
                    success = (victim_label != y) & (reads == y)
                assert torch.equal(success, tensors["success"].bool())
                assert cell["success"] == pytest.approx(vars(wilson(int(success.sum()), 8)))
                if training != "none":
                    effect = measure_effect(baseline["success"].bool(), success, content["min_effect"])
                    assert cell["change"] == pytest.approx(vars(effect.change))
                    assert cell["improves_robustness"] == effect.improves_robustness
        assert content["answer"] == all_hold(content["only_own_kind"].values())

    def test_attacked_images_are_classified_correctly_by_every_victim(
        self, finished: FinishedRun, splits: ImageSplits
    ) -> None:
        tensors = finished.tensors("both", "pgd")
        assert torch.equal(tensors["y"], splits.test.labels[tensors["index"]])
        torch.testing.assert_close(tensors["x"], splits.test.images[tensors["index"]].float() / 255)
        accuracies = [row["accuracy"]["rate"] for row in finished.content["trainings"].values()]
        assert min(accuracies) >= len(tensors["index"]) / len(splits.test)

    def test_adversarial_training_images_have_another_label(self, finished: FinishedRun, splits: ImageSplits) -> None:
        images = load_file(finished.folder / "adversarial_images.safetensors")
        y = splits.train.labels[images["index"]]
        assert len(images["index"].unique()) == len(y) == 20
        assert (images["labels"] != y).all()
        assert images["images"].dtype == torch.uint8
        assert images["images"].shape[1:] == splits.train.images.shape[1:]

    def test_each_training_has_its_own_store_entry(self, finished: FinishedRun) -> None:
        new = {Path(path).parent for path in finished.after.keys() - finished.before.keys()}
        recipes = [json.loads((entry / "recipe.json").read_text()) for entry in new]
        made_with = {
            (entry.name.rsplit("-", 1)[0].endswith("image_folder+type1"), recipe["training"]["adversarial_radius"])
            for entry, recipe in zip(new, recipes, strict=True)
        }
        assert len(new) == 3
        assert made_with == {(True, 0), (False, 2), (True, 2)}
        assert all(finished.after[path] == written for path, written in finished.before.items())

    def test_claim_is_printed_and_the_figure_is_drawn(self, finished: FinishedRun) -> None:
        printed = " ".join(finished.answer.out.split())
        assert f"helps against that kind only: {finished.content['answer']}." in printed
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
        again = load_file(tmp_path / "again" / "adversarial_images.safetensors")
        assert all(
            torch.equal(value, again[name])
            for name, value in load_file(finished.folder / "adversarial_images.safetensors").items()
        )
        content = json.loads((tmp_path / "again" / "adversarial_training.json").read_text())
        assert tuple(content["trainings"]) == ("none", "type1")
        assert content["answer"] == "undecided"
        assert not (tmp_path / "again" / "figures").exists()
        assert "Nothing is left to do" in command(*some, "resume=again").out


class TestConfig:
    @pytest.mark.parametrize(
        ("overrides", "what"),
        [
            (["attack@study.train=pgd"], "study.train is pgd"),
            (["attack@study.attacks.type1=pgd"], "no attack of type1"),
            (["study.trainings=[type1,type3]"], "type3"),
            (["study.trainings=[both,both]"], "one twice"),
            (["study.adversarial_radius=0"], "study.adversarial_radius=0"),
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
    @pytest.mark.parametrize("override", ["study.images=1000", "study.test_images=1000"])
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
        attacks = settings_from(config).study.attacks
        confidences = {name: attacks[name].penalty["confidence"] for name in ("type1", "type2_latent")}
        assert confidences == {"type1": 0.8, "type2_latent": 0.5}
