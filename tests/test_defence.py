"""Training with attacked pictures: what is added, when it counts as help, and the stage."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import Answer, Study, called, compose, stored
from safetensors.torch import load_file
from torch import Tensor

from cam_adv.attack.result import AttackResult
from cam_adv.config import settings_from
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.defence.effect import all_hold, effect, helps_only_against
from cam_adv.defence.pictures import as_training_images, with_added
from cam_adv.errors import UserError
from cam_adv.evaluation.intervals import paired_change, wilson


class TestPairedChange:
    @pytest.mark.parametrize(
        ("counts", "expected"),
        [
            ((1, 1, 7, 12), (0.2857, 0.026, 0.507)),  # Bentur et al. 2009, as in Fagerland et al. 2014
            ((20, 12, 2, 16), (-0.2, -0.3292, -0.0562)),  # Newcombe 1998, table II, the sign turned
        ],
    )
    def test_published_intervals(self, counts: tuple[int, ...], expected: tuple[float, ...]) -> None:
        found = paired_change(*counts)
        assert (found.estimate, found.low, found.high) == pytest.approx(expected, abs=5e-4)

    def test_trials_that_came_out_alike_leave_a_width(self) -> None:
        """All of 10 succeed both times: Wilson's interval of each rate goes down to 0.722."""
        found = paired_change(10, 0, 0, 0)
        assert (found.estimate, found.low, found.high) == pytest.approx((0, -0.2775, 0.2775), abs=1e-4)

    def test_turns_its_sign_with_the_order(self) -> None:
        one, other = paired_change(50, 30, 5, 15), paired_change(50, 5, 30, 15)
        assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))

    @pytest.mark.parametrize("counts", [(0, 0, 0, 0), (3, -1, 2, 0)])
    def test_no_trials_are_refused(self, counts: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="paired trials"):
            paired_change(*counts)


def attacked(images: int) -> AttackResult:
    """Labels 0, 1, 2, …, targets one more; every picture grey, half of a level above its number."""
    y = torch.arange(images)
    x_adv = ((y + 0.4) / 255).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    none = torch.zeros(images, 1)
    return AttackResult(0 * x_adv, x_adv, none, none, y, y + 1, y, y, y < 0, none[:, None], {})


class TestPictures:
    def test_label_is_what_a_person_is_meant_to_see(self) -> None:
        pictures = as_training_images(attacked(3))
        assert pictures.labels.tolist() == [1, 2, 3]
        assert pictures.images[:, 0, 0, 0].tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("share", "expected"), [(0.5, [10, 11, 12, 13, 10, 11]), (0.25, [10, 11]), (0.4, [10, 11, 12, 13])]
    )
    def test_are_repeated_until_they_make_up_their_share(self, share: float, expected: list[int]) -> None:
        """Six clean images with pixel 0 and label 9; four pictures whose pixels say their labels."""
        clean = LabelledImages(torch.zeros(6, 1, 2, 2, dtype=torch.uint8), torch.full((6,), 9))
        labels = 10 + torch.arange(4)
        pictures = LabelledImages(labels.byte().reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2), labels)
        mixed = with_added(ImageSplits(clean, clean, clean, tuple("abc")), pictures, share)
        assert mixed.validation is clean
        assert mixed.test is clean
        assert torch.equal(mixed.train.images[:6], clean.images)
        assert mixed.train.labels.tolist() == [9] * 6 + expected
        assert mixed.train.images[6:, 0, 0, 0].tolist() == expected


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[Tensor, Tensor]:
    """Successes on two victims, so many images of each outcome."""
    plain = [True] * (both + first) + [False] * (second + neither)
    retrained = [True] * both + [False] * first + [True] * second + [False] * neither
    return torch.tensor(plain), torch.tensor(retrained)


class TestRule:
    """The change and its interval by hand, from the two Wilson intervals; what matters is a fall by 0.1."""

    @pytest.mark.parametrize(
        ("counts", "estimate", "helps"),
        [
            ((40, 60, 0, 0), -0.6, "yes"),
            ((98, 1, 1, 0), 0.0, "no"),
            ((85, 12, 1, 2), -0.11, "undecided"),
            ((60, 0, 40, 0), 0.4, "no"),  # it makes the attack easier
            ((5, 0, 0, 0), 0.0, "undecided"),  # too few to know
        ],
    )
    def test_by_hand(self, counts: tuple[int, ...], estimate: float, helps: str) -> None:
        found = effect(*outcomes(*counts), matters=0.1)
        assert found.change == paired_change(*counts)
        assert found.change.estimate == pytest.approx(estimate)
        assert found.helps == helps

    def test_what_matters_decides(self) -> None:
        """A fall by 0.6 with an interval from 0.50 to 0.69."""
        plain, retrained = outcomes(40, 60, 0, 0)
        answers = [effect(plain, retrained, matters).helps for matters in (0.45, 0.6, 0.75)]
        assert answers == ["yes", "undecided", "no"]

    @pytest.mark.parametrize(
        ("own", "other", "expected"),
        [
            ("yes", "no", "yes"),
            ("yes", "yes", "no"),
            ("no", "no", "no"),
            ("undecided", "no", "undecided"),
            ("undecided", "yes", "no"),
            ("yes", "undecided", "undecided"),
        ],
    )
    def test_only_its_own_kind(self, own: str, other: str, expected: str) -> None:
        plain = outcomes(50, 50, 0, 0)
        found = {answer: effect(*plain, matters=0.1) for answer in ("a", "b")}
        effects = {name: type(found[name])(found[name].change, helps) for name, helps in (("a", own), ("b", other))}
        assert helps_only_against("type1", effects, {"a": "type1", "b": "type2"}) == expected
        assert helps_only_against("type2", effects, {"a": "type2", "b": "type1"}) == expected

    def test_a_claim_holds_where_all_parts_do(self) -> None:
        assert [all_hold(parts) for parts in (["yes", "yes"], ["yes", "undecided"], ["undecided", "no"])] == [
            "yes",
            "undecided",
            "no",
        ]


TRAININGS = ("none", "type1", "type2", "both")
KINDS = {"type1": "type1", "type2_latent": "type2", "pgd": "type2"}
CONFIDENCE = 0.4


@pytest.fixture(scope="module")
def overrides(tiny: list[str]) -> list[str]:
    attacks = ("train", *(f"attacks.{name}" for name in KINDS))
    small = ["images=20", "test_images=8", "share=0.3"]
    small += [f"{attack}.{one}" for attack in attacks for one in ("steps=4", "frames=2")]
    small += [f"{attack}.confidence={CONFIDENCE}" for attack in attacks if attack.endswith(("train", "type1"))]
    return [*tiny, "experiment=defence", *(f"defence.{one}" for one in small)]


@dataclass(frozen=True)
class Defended:
    folder: Path
    answer: Answer
    before: dict[str, int]
    after: dict[str, int]

    def tensors(self, training: str, attack: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{training}_{attack}.safetensors")

    @property
    def root(self) -> Path:
        return self.folder.parent

    @property
    def content(self) -> dict:
        return json.loads((self.folder / "defence.json").read_text())


@pytest.fixture(scope="module")
def defended(overrides: list[str], study: Study, tmp_path_factory: pytest.TempPathFactory) -> Defended:
    """A run on copies of the first study's models: it adds others, and the study's store is everybody's."""
    root = tmp_path_factory.mktemp("defence")
    shutil.copytree(study.root / "outputs" / "models", root / "outputs" / "models")
    before = stored(root)
    answer = called([*overrides, "hydra.run.dir=defended"], root)
    assert answer.code == 0, answer.err
    return Defended(root / "defended", answer, before, stored(root))


class TestStage:
    def test_table_follows_from_the_tensors(self, defended: Defended) -> None:
        content = defended.content
        assert tuple(content["trainings"]) == TRAININGS
        for training in TRAININGS:
            attacks = content["trainings"][training]["attacks"]
            assert {attack: cell["kind"] for attack, cell in attacks.items()} == KINDS
            for attack, cell in attacks.items():
                tensors, plain = defended.tensors(training, attack), defended.tensors("none", attack)
                assert torch.equal(tensors["index"], plain["index"])
                victim, judge = tensors["victim_probs"], tensors["judge_probs"]
                said, seen = victim.argmax(dim=1), judge.argmax(dim=1)
                y, target, every = tensors["y"], tensors["target"], torch.arange(8)
                if KINDS[attack] == "type1":
                    success = (said == y) & (victim[every, y] >= CONFIDENCE) & (seen == target)
                else:
                    success = (said != y) & (seen == y)
                assert torch.equal(success, tensors["success"].bool())
                assert cell["success"] == pytest.approx(vars(wilson(int(success.sum()), 8)))
                if training != "none":
                    found = effect(plain["success"].bool(), success, content["matters"])
                    assert cell["change"] == pytest.approx(vars(found.change))
                    assert cell["helps"] == found.helps
        assert content["answer"] == all_hold(content["only_own_kind"].values())

    def test_attacked_images_are_those_on_which_every_victim_is_right(
        self, defended: Defended, splits: ImageSplits
    ) -> None:
        tensors = defended.tensors("both", "pgd")
        assert torch.equal(tensors["y"], splits.test.labels[tensors["index"]])
        torch.testing.assert_close(tensors["x"], splits.test.images[tensors["index"]].float() / 255)
        accuracies = [row["accuracy"]["rate"] for row in defended.content["trainings"].values()]
        assert min(accuracies) >= len(tensors["index"]) / len(splits.test)

    def test_pictures_to_train_with_are_labelled_as_another_class(
        self, defended: Defended, splits: ImageSplits
    ) -> None:
        pictures = load_file(defended.folder / "pictures.safetensors")
        y = splits.train.labels[pictures["index"]]
        assert len(pictures["index"].unique()) == len(y) == 20
        assert (pictures["labels"] != y).all()
        assert pictures["images"].dtype == torch.uint8
        assert pictures["images"].shape[1:] == splits.train.images.shape[1:]

    def test_each_training_has_its_own_entry(self, defended: Defended) -> None:
        new = {Path(path).parent for path in defended.after.keys() - defended.before.keys()}
        recipes = [json.loads((entry / "recipe.json").read_text()) for entry in new]
        made_with = {
            (entry.name.rsplit("-", 1)[0].endswith("image_folder+type1"), recipe["training"]["adversarial_radius"])
            for entry, recipe in zip(new, recipes, strict=True)
        }
        assert len(new) == 3
        assert made_with == {(True, 0), (False, 2), (True, 2)}
        assert all(defended.after[path] == written for path, written in defended.before.items())

    def test_says_it_in_words(self, defended: Defended) -> None:
        said = " ".join(defended.answer.out.split())
        assert f"helps against that kind only: {defended.content['answer']}." in said
        assert (defended.folder / "figures" / "defence.png").stat().st_size > 0

    def test_once_more_retrains_nothing(
        self, defended: Defended, command: Callable[..., Answer], overrides: list[str], tmp_path: Path
    ) -> None:
        some = [
            *overrides,
            "defence.trainings=[type1]",
            f"outputs={defended.root / 'outputs'}",
            "hydra.run.dir=again",
        ]
        answer = command(*some)
        assert answer.code == 0, answer.err
        assert stored(defended.root) == defended.after
        again = load_file(tmp_path / "again" / "pictures.safetensors")
        assert all(
            torch.equal(value, again[name])
            for name, value in load_file(defended.folder / "pictures.safetensors").items()
        )
        content = json.loads((tmp_path / "again" / "defence.json").read_text())
        assert tuple(content["trainings"]) == ("none", "type1")
        assert content["answer"] == "undecided"
        assert "Nothing is left to do" in command(*some, "resume=again").out


class TestRefusals:
    @pytest.mark.parametrize(
        ("wrong", "told"),
        [
            (["attack@defence.train=pgd"], "defence.train is pgd"),
            (["attack@defence.attacks.type1=pgd"], "no attack of type1"),
            (["defence.trainings=[type1,type3]"], "type3"),
            (["defence.trainings=[both,both]"], "one twice"),
            (["defence.adversarial_radius=0"], "defence.adversarial_radius=0"),
            (["model.victim.training=null"], "comes trained"),
            (["model.victim.training.adversarial_radius=1"], "defends the victim already"),
            (["defence.train.target=11"], "defence.train.target=11"),
            (
                ["hardware.compile=true", "attack@defence.attacks.type1=type1_cam"],
                "defence.attacks.type1.weights.cam",
            ),
        ],
    )
    def test_wrong_values(self, wrong: list[str], told: str) -> None:
        with pytest.raises(UserError) as refusal:
            settings_from(compose(["experiment=defence", *wrong]))
        assert told in refusal.value.what

    @pytest.mark.parametrize("asked", ["defence.images=1000", "defence.test_images=1000"])
    def test_too_many_images_are_refused_before_training(
        self, command: Callable[..., Answer], overrides: list[str], asked: str, tmp_path: Path
    ) -> None:
        answer = command(*overrides, asked)
        assert answer.code == 2
        assert asked in answer.err
        assert not (tmp_path / "outputs" / "models").exists()

    def test_attacks_keep_their_own_confidence(self) -> None:
        """Beside an attack that has none."""
        other = compose(["experiment=defence", "attack=pgd", "defence.attacks.type1.confidence=0.8"])
        plan = settings_from(other).defence
        asked = {name: plan.attacks[name].multiplier["confidence"] for name in ("type1", "type2_latent")}
        assert asked == {"type1": 0.8, "type2_latent": 0.5}
