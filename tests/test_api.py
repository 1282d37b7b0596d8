"""The models and attacks that a notebook loads: success by strength, independence of batches, own networks."""

from concurrent.futures import ThreadPoolExecutor

import hydra
import pytest
import torch
from conftest import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.version import getbase
from torch import Tensor, nn

from cam_adv.api import load
from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attacks.result import AttackResult
from cam_adv.config.compose import settings_from
from cam_adv.config.composition import compose as compose_config
from cam_adv.data.pixels import to_unit_range
from cam_adv.errors import UserError
from cam_adv.metrics.success import AttackVerdict, type1_verdict
from cam_adv.studies.context import StudyContext
from cam_adv.training.stored_models import stored_models

IMAGES = 64


@pytest.fixture(scope="module")
def overrides(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The tiny run with a generator that is trained long enough to draw images."""
    longer = ["svae_epochs=120", "learning_rate=0.01", "kl_weight=0.05"]
    store = tmp_path_factory.mktemp("api")
    return [*tiny, *[f"model.generator.training.{change}" for change in longer], f"outputs={store}"]


@pytest.fixture(scope="module")
def context(overrides: list[str]) -> StudyContext:
    return load(*overrides)


def correct_images(context: StudyContext) -> tuple[Tensor, Tensor, Tensor]:
    """Training images that the victim classifies correctly, their labels, and the next class as the target."""
    x, y = to_unit_range(context.splits.train.images), context.splits.train.labels
    correct = (context.victim(x).argmax(dim=1) == y).nonzero().squeeze(1)[:IMAGES]
    assert len(correct) == IMAGES
    return x[correct], y[correct], (y[correct] + 1) % 3


def bound_attack(context: StudyContext, victim: nn.Module | None = None, **changes: object) -> BoundAttack:
    """The attack of the config with 30 steps from each of two starts, and other changes."""
    changes = {"steps": 30, "init": ["mean", "real_image"], **changes}
    return context.bind(context.attack.model_copy(update=changes), victim)


@torch.no_grad()
def verdict(context: StudyContext, result: AttackResult) -> AttackVerdict:
    victim, reading = context.victim(result.x_adv).softmax(dim=1), context.judge.read(result.x_adv, context.device)
    return type1_verdict(victim, reading.reads, result.y, result.target, confidence=0.4)


@pytest.mark.slow
class TestLoad:
    def test_second_load_takes_the_same_models_from_the_store(
        self, overrides: list[str], context: StudyContext
    ) -> None:
        x, y, target = (part[:5] for part in correct_images(context))
        again = load(*overrides)
        assert torch.equal(again.bind()(x, y, target).x_adv, context.bind()(x, y, target).x_adv)

    def test_success_grows_with_strength(self, context: StudyContext) -> None:
        """In a ball of radius 0 nothing changes; each larger ball contains the codes of the smaller one."""
        successes = [
            int(verdict(context, bound_attack(context, strength=strength)(*correct_images(context))).success.sum())
            for strength in (0.0, 2.0, 4.0, 8.0)
        ]
        assert successes[0] == 0
        assert successes == sorted(successes)
        assert successes[-1] > IMAGES / 4

    def test_verdicts_are_independent_of_the_batch_size_and_equal_for_equal_seeds(
        self, context: StudyContext
    ) -> None:
        """In float32 on trained networks, where sums in another order differ in the last digits."""
        x, y, target = (part[-32:] for part in correct_images(context))
        attack = bound_attack(context, steps=15)
        whole = attack(x, y, target)
        repeated = attack(x, y, target)
        assert whole.z is not None
        assert repeated.z is not None
        assert torch.equal(repeated.z, whole.z)
        expected = vars(verdict(context, whole))
        assert 0 < int(expected["success"].sum()) < 32
        for size in (1, 7):
            batches = [attack(*part) for part in zip(x.split(size), y.split(size), target.split(size), strict=True)]
            verdicts = [vars(verdict(context, part)) for part in batches]
            for criterion, met in expected.items():
                assert torch.equal(torch.cat([part[criterion] for part in verdicts]), met), (size, criterion)

    def test_own_victim_is_attacked_with_the_same_models(self, context: StudyContext) -> None:
        """A victim that always predicts y allows every image to become what the proxies classify as y'."""

        class AlwaysClassZero(nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                logits = torch.tensor([[9.0, 0.0, 0.0]]).expand(len(images), 3)
                return logits + images.flatten(1).mean(1, keepdim=True)

        x, y, _ = correct_images(context)
        x = x[y == 0]
        y, target = torch.zeros(len(x), dtype=torch.long), torch.ones(len(x), dtype=torch.long)
        victim, attack = AlwaysClassZero(), bound_attack(context).attack
        assert isinstance(attack, LatentAttack)
        real, train = context.splits.validation, context.splits.train
        models = AttackModels(victim, context.generator, context.surrogates, real, train)
        result = BoundAttack(attack, models)(x, y, target)
        assert (context.judge.read(result.x_adv, context.device).reads == 1).float().mean() > 0.8
        assert torch.equal(bound_attack(context, victim)(x, y, target).x_adv, result.x_adv)

    def test_result_is_evaluated_as_by_hand(self, context: StudyContext) -> None:
        """The table has the verdict of each image, the rates are its means; the models stay while they are in use."""
        x, y, target = (part[-32:] for part in correct_images(context))
        attack = bound_attack(context, steps=15)
        result = attack(x, y, target)
        shown = context.evaluate(attack, result)
        table = shown.to_pandas()
        for criterion, met in vars(verdict(context, result)).items():
            assert table[criterion].tolist() == met.int().tolist()
            assert shown.rates[criterion].rate == pytest.approx(met.float().mean().item())
        assert 0 < table["success"].sum() < 32
        assert table["pixels"].tolist() == pytest.approx((result.x_adv - x).flatten(1).norm(dim=1).tolist(), abs=1e-6)
        names = context.splits.class_names
        assert table["victim_x"].tolist() == [names[label] for label in y.tolist()]
        models = stored_models(context.settings.outputs / "models")
        assert {model.state for model in models} == {"current"}
        assert not any(model.remove() for model in models)
        assert all(model.folder.exists() for model in models)

    def test_result_is_evaluated_with_the_victim_of_the_attack(self, context: StudyContext) -> None:
        class Reversed(nn.Module):
            def forward(self, images: Tensor) -> Tensor:
                return -context.victim(images)

        x, y, target = (part[:4] for part in correct_images(context))
        attack = bound_attack(context, Reversed(), steps=2)
        table = context.evaluate(attack, attack(x, y, target)).to_pandas()
        said = (-context.victim(x)).argmax(dim=1).tolist()
        assert table["victim_x"].tolist() == [context.splits.class_names[label] for label in said]

    def test_pixel_attack_is_bound_to_the_victim_alone(self, context: StudyContext) -> None:
        attack = settings_from(compose(["attack=pgd"])).attack
        x, y, target = (part[:5] for part in correct_images(context))
        bound = context.bind(attack)
        assert bound.models.generator is None
        assert len(bound.models.surrogates) == 0
        result = bound(x, y, target)
        assert (result.z0, result.z, result.path) == (None, None, None)
        assert (result.x_adv - x).abs().max() <= 0.1 + 1e-6


class TestState:
    """Of the process that `load` is called in."""

    def test_inside_an_application_of_hydra_its_state_stays_as_it_is(self) -> None:
        with hydra.initialize(version_base="1.1"):
            application = GlobalHydra.instance().hydra
            assert compose_config(["attack.steps=7"]).attack.steps == 7
            assert GlobalHydra.instance().hydra is application
            assert str(getbase()) == "1.1"
            with pytest.raises(UserError, match=r"There is no key attack\.stepz"):
                load("attack.stepz=7")

    @pytest.mark.slow
    def test_threads_load_the_same_models(self, overrides: list[str], context: StudyContext) -> None:
        with ThreadPoolExecutor(2) as pool:
            loaded = list(pool.map(lambda _: load(*overrides), range(2)))
        expected = context.victim.state_dict()
        for one in loaded:
            assert all(torch.equal(value, expected[name]) for name, value in one.victim.state_dict().items())


class TestLoadErrors:
    """Errors are those of the command line."""

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("attack.confidence=2", r"attack\.confidence=2"),
            ("attack.confidense=0.9", r"There is no key attack\.confidense\.\nDid you mean attack\.confidence\?"),
            ("attack=typ1", r"There is no config attack/typ1\.\nChoose attack from"),
            ("stage=kinds", r"stage is called study now\.\nWrite study=attack_comparison\."),
            ("attack.steps=[1", r"The override attack\.steps=\[1 can't be read"),
        ],
    )
    def test_invalid_override_is_refused(self, override: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            load(override)
