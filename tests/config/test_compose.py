"""Every shipped config is valid, and every invalid value is refused in two sentences."""

from importlib import resources
from pathlib import Path

import pytest
from conftest import compose
from omegaconf import OmegaConf

from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError

CONF = resources.files("cam_adv.conf")
GROUPS = (
    "dataset",
    "model/victim",
    "model/generator",
    "model/judge",
    "model/surrogates",
    "attack",
    "study",
    "hardware",
    "experiment",
)
CHOICES = [
    (group, Path(file.name).stem)
    for group in GROUPS
    for file in sorted(CONF.joinpath(group).iterdir(), key=lambda file: file.name)
    if file.name.endswith(".yaml")
]
REQUIRED = {
    "image_folder": ["dataset.root=somewhere"],
    "model/victim=own": ["model.victim.network._target_=cam_adv.models.victims.LeNet"],
    "model/generator=own": ["model.generator.network.decoder._target_=torch.nn.Identity"],
    "image_module": [
        f"model.generator.network.decoder.{one}" for one in ("module._target_=torch.nn.Tanh", "code_shape=[9]")
    ],
    "stylegan": ["model.generator.network.decoder.network.file=somewhere"],
    "diffusers": ["model.generator.network.decoder.path=somewhere"],
    "burgess_vae": ["model.generator.network.decoder.weights=somewhere"],
    "taef2": [f"model.generator.network.decoder.{part}_weights=somewhere" for part in ("encoder", "decoder")],
    "train": ["role=victim"],
    "figures": ["run=somewhere"],
    "reading": ["run=somewhere"],
    "dataset=torchvision": ["dataset.set=CIFAR10"],
    "dataset=hugging_face": ["dataset.path=ylecun/mnist"],
    "model/victim=torchvision": ["model.victim.network.name=resnet18"],
    "model/victim=timm": ["model.victim.network.name=resnet18"],
}
"""Values that a choice leaves to the user."""

OWN_NAMES = {
    "dataset=torchvision": "CIFAR10",
    "model/victim=torchvision": "torchvision_resnet18",
    "model/victim=timm": "timm_resnet18",
}
"""Names of choices that are called after those values."""


def names(group: str) -> list[str]:
    return [name for of, name in CHOICES if of == group]


@pytest.mark.slow
class TestShippedConfigs:
    def test_every_group_has_choices(self) -> None:
        assert {group for group, _ in CHOICES} == set(GROUPS)

    @pytest.mark.parametrize(("group", "name"), CHOICES, ids=lambda part: part)
    def test_choice_is_valid_and_names_itself(self, group: str, name: str) -> None:
        config = compose([f"{group}={name}", *REQUIRED.get(f"{group}={name}", REQUIRED.get(name, []))])
        settings_from(config)
        node = config if group == "experiment" else OmegaConf.select(config, group.replace("/", "."))
        if group != "hardware":
            assert node.name == OWN_NAMES.get(f"{group}={name}", name)

    @pytest.mark.parametrize("experiment", names("experiment"))
    @pytest.mark.parametrize("attack", ["type1", "pgd"])
    def test_experiment_with_target_refuses_untargeted_attacks_only(self, experiment: str, attack: str) -> None:
        config = compose([f"experiment={experiment}", f"attack={attack}"])
        has_target = config.selection.target != "random"
        assert has_target == (experiment in {"all_pairs", "seven_to_nine", "seven_to_zero"})
        if has_target and attack == "pgd":
            with pytest.raises(UserError, match=f"attack={attack} is untargeted"):
                settings_from(config)
        else:
            settings = settings_from(config)
            assert (settings.name, settings.attack.name) == (experiment, attack)

    @pytest.mark.parametrize("study", names("study"))
    @pytest.mark.parametrize("attack", ["type1", "pgd"])
    def test_explanation_reliability_alone_refuses_type2_attacks(self, study: str, attack: str) -> None:
        config = compose([f"study={study}", f"attack={attack}", *REQUIRED.get(study, [])])
        if config.attack.kind == "type2" and study == "explanation_reliability":
            with pytest.raises(UserError, match=f"attack={attack} is a Type II attack"):
                settings_from(config)
        else:
            settings = settings_from(config)
            assert (settings.name, settings.study.name, settings.attack.name) == (study, study, attack)


def test_settings_have_the_config_values_and_are_frozen() -> None:
    settings = settings_from(compose(["attack.steps=17", "seed=3", "attack.strength=2", "outputs=there"]))
    assert (settings.attack.steps_per_init, settings.seed, settings.attack.strength) == (17, 3, 2.0)
    assert settings.outputs == Path("there")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 4
    with pytest.raises(ValueError, match="frozen"):
        settings.attack.strength = 3.0


INVALID = [
    (["attack.strength=-1"], "attack.strength=-1", "greater than or equal to 0"),
    (["attack.strength=inf"], "attack.strength=inf", "finite"),
    (["attack.strength=nan"], "attack.strength=nan", "finite"),
    (["attack.strength=true"], "attack.strength=true", "number"),
    (["attack.strength="], "attack.strength=", "valid number"),
    (["selection.images=0"], "selection.images=0", "greater than or equal to 1"),
    (["selection.images=2.5"], "selection.images=2.5", "valid integer"),
    (["selection.images=many"], "selection.images=many", "valid integer"),
    (["selection.images=null"], "selection.images=null", "valid integer"),
    (["selection.images=true"], "selection.images=true", "integer"),
    (["attack.steps=0"], "attack.steps=0", "greater than or equal to 1"),
    (["attack.learning_rate=0"], "attack.learning_rate=0", "greater than 0"),
    (["attack.learning_rate=fast"], "attack.learning_rate=fast", "valid number"),
    (["attack.trace_points=1"], "attack.trace_points=1", "greater than or equal to 2"),
    (["attack.batch_size=-3"], "attack.batch_size=-3", "greater than or equal to 1"),
    (["attack.confidence=1"], "attack.confidence=1", "less than 1"),
    (["attack.confidence=90%"], "attack.confidence=90%", "valid number"),
    (["selection.target=2.5"], "selection.target=2.5", "'random', 'next' or 'every'"),
    (["selection.target=2.5"], "selection.target=2.5", "the number or the name of a class"),
    (["selection.target=true"], "selection.target=true", "the number or the name of a class"),
    (["selection.source="], "selection.source=", "the number or the name of a class"),
    (["selection.target=-1"], "selection.target=-1", "greater than or equal to 0"),
    (["selection.target=10"], "selection.target=10, but mnist_5k has no such class", "0 to 9"),
    (["selection.source=10"], "selection.source=10, but mnist_5k has no such class", "0 to 9"),
    (
        ["selection.source=7", "selection.target=7"],
        "selection.target=7 is the class that the images already have",
        "another",
    ),
    (["attack.weights.norm=-0.1"], "attack.weights.norm=-0.1", "greater than or equal to 0"),
    (["+attack.weights.extra=1"], "attack.weights.extra is no key", "Remove attack.weights.extra"),
    (["~attack.weights.norm"], "attack.weights.norm is missing", "+attack.weights.norm=VALUE"),
    (["~attack.penalty._target_"], "attack.penalty=", "a mapping with a _target_"),
    (["attack.penalty=3"], "attack.penalty=3", "a mapping with a _target_"),
    (["+attack.penalty.caps=1"], "attack.penalty.caps is no argument", "write cap"),
    (["~attack.penalty.rate"], "attack.penalty.rate", "+attack.penalty.rate=VALUE"),
    (["dataset=image_folder"], "dataset.root has no value", "dataset.root=VALUE"),
    (["dataset.split.validation=0"], "dataset.split.validation=0", "greater than 0"),
    (["dataset.split.validation=0.5", "dataset.split.test=0.5"], "nothing is left", "Lower dataset.split"),
    (["dataset.split.test=0.2x"], "dataset.split.test=0.2x", "valid number"),
    (["dataset.classes=1"], "dataset.classes=1", "greater than or equal to 2"),
    (["dataset.example_pairs=[[7]]"], "dataset.example_pairs.0", "missing"),
    (["dataset.example_pairs=[[7,7]]"], "dataset.example_pairs[0] goes from class 7 to itself", "two different"),
    (["dataset.example_pairs=[[7,9],[3,12]]"], "dataset.example_pairs[1][1]=12", "0 to 9"),
    (["dataset.example_pairs=7"], "dataset.example_pairs=7", "list"),
    (["dataset.source._target_=cam_adv.data.nowhere"], "cam_adv.data.nowhere can't be imported", "import path"),
    (["+dataset.source.sise=3"], "dataset.source.sise is no argument of", "Remove it"),
    (["model.victim.network._target_=no.such.Net"], "no.such.Net can't be imported", "import path"),
    (["model.victim.training.epochs=0"], "model.victim.training.epochs=0", "greater than or equal to 1"),
    (["model.victim.training.label_smoothing=1"], "label_smoothing=1", "less than 1"),
    (["model.victim.seed=-1"], "model.victim.seed=-1", "greater than or equal to 0"),
    (["model.judge.training.batch_size=0.5"], "model.judge.training.batch_size=0.5", "valid integer"),
    (["+model.judge.members.plain.colour=red"], "model.judge.members.plain.colour is no key", "Remove"),
    (["model.generator.training.kl_weight=0"], "model.generator.training.kl_weight=0", "greater than 0"),
    (["model.generator.training.augmentation.scale=1"], "augmentation.scale=1", "less than 1"),
    (
        ["~model.generator.training._target_"],
        "model.generator.training._target_ is missing",
        "cam_adv.schema.models.GeneratorTraining",
    ),
    (
        ["model.generator.training._target_=torch.nn.Linear"],
        "model.generator.training._target_=torch.nn.Linear is no GeneratorTraining",
        "Give a subclass",
    ),
    (["hardware.devices=0"], "hardware.devices=0", "greater than or equal to 1"),
    (["hardware.device=free"], "hardware.device=free", "'first' or 'idle'"),
    (["hardware.precision=8"], "hardware.precision=8", "'32-true'"),
    (["attack.kind=type3"], "attack.kind=type3", "'type1' or 'type2'"),
    (["attack._target_=cam_adv.attacks.pgd.PDG"], "cam_adv.attacks.pgd.PDG can't be imported", "pgd.PGD"),
    (["attack._target_=torch.nn.Linear"], "attack._target_=torch.nn.Linear is no Attack", "Give a subclass"),
    (["~attack._target_"], "attack._target_ is missing", "cam_adv.attacks.base.Attack"),
    (
        ["attack.kind=type2", "attack.init=[real_image,mean]"],
        "attack.init=['real_image', 'mean'], but type1 is a Type II attack",
        "[mean]",
    ),
    (["attack.init_candidates=0"], "attack.init_candidates=0", "greater than or equal to 1"),
    (["attack.residual.eps=-0.1"], "attack.residual.eps=-0.1", "greater than or equal to 0"),
    (["attack.residual.norm=l1"], "attack.residual.norm=l1", "'l2' or 'linf'"),
    (["attack.residual.scale=0"], "attack.residual.scale=0", "greater than 0"),
    (["attack.weights.density=-1"], "attack.weights.density=-1", "greater than or equal to 0"),
    (["attack=type2_latent", "attack.weights.cam=1"], "attack.weights.cam=1.0", "attack=type1_cam"),
    (["attack=type2_latent", "study=explanation_reliability"], "type2_latent is a Type II", "attack=type1"),
    (["attack=pgd", "study=explanation_reliability"], "attack=pgd is a Type II attack", "attack=type1"),
    (["attack=pgd", "attack.kind=type1"], "attack.kind=type1", "'type2'"),
    (
        ["attack=pgd", "selection.target=3"],
        "selection.target=3, but attack=pgd is untargeted",
        "attack=type2_latent",
    ),
    (["attack=pgd", "+attack.weights.cam=1"], "attack.weights is no key", "Remove attack.weights"),
    (["attack=pgd", "attack.strength=null"], "attack.strength=null", "valid number"),
    (["attack=pgd", "attack.norm=l3"], "attack.norm=l3", "'l1', 'l2' or 'linf'"),
    (["attack=pgd", "attack.step_size=0"], "attack.step_size=0", "greater than 0"),
    (["attack=fgsm", "+attack.gamma=3"], "attack.gamma is no key", "Remove attack.gamma"),
    (["attack=ddn", "attack.norm=linf"], "attack.norm=linf", "'l2'"),
    (["attack=ddn", "attack.gamma=1"], "attack.gamma=1", "less than 1"),
    (["attack=deepfool", "selection.source=10"], "selection.source=10, but mnist_5k has no such class", "0 to 9"),
    (["attack.margin=-1"], "attack.margin=-1", "greater than or equal to 0"),
    (["hardware.precision=64-true"], "hardware.precision=64-true", "'32-true', 'bf16-mixed' or '16-mixed'"),
    (["hardware.accelerator=tpu"], "hardware.accelerator=tpu", "'auto', 'cpu' or 'gpu'"),
    (["hardware.strategy=fsdp"], "hardware.strategy=fsdp", "'single' or 'ddp'"),
    (["hardware.compile=true", "attack=type1_cam"], "attack (type1_cam) needs maps", "hardware.compile=false"),
    (["study=train", "role=judges"], "study.role=judges", "'victim', 'generator', 'surrogates' or 'judge'"),
    (["study=train"], "role has no value", "role=VALUE"),
    (["study=reading"], "run has no value", "run=VALUE"),
    (["study=reading", "run=a", "answers=3"], "study.answers=3", "valid list"),
    (["study._target_=cam_adv.attacks.pgd.PGD"], "cam_adv.attacks.pgd.PGD is no Study", "Give a subclass"),
    (["~study._target_"], "study._target_ is missing", "cam_adv.studies.base.Study"),
    (["seed=-1"], "seed=-1", "greater than or equal to 0"),
    (["seed=99999999999"], "seed=99999999999", "less than"),
    (["retrain=maybe"], "retrain=maybe", "it should be true or false."),
    (["name=a/b"], "name=a/b", "a name of letters, digits and _"),
    (["model.victim.name=../x"], "model.victim.name=../x", "a name of letters, digits and _"),
    (["dataset.name=a/b"], "dataset.name=a/b", "a name of letters, digits and _"),
    (["+something=1"], "something is no key of this config", "Remove something"),
    (["outputs=${nowhere}"], "The config can't be resolved", "Correct"),
]


@pytest.mark.parametrize(("overrides", "what", "remedy"), INVALID, ids=lambda part: str(part)[:60])
def test_invalid_value_is_refused_with_path_and_remedy(overrides: list[str], what: str, remedy: str) -> None:
    with pytest.raises(UserError) as refusal:
        settings_from(compose(overrides))
    assert what in refusal.value.what
    assert remedy in f"{refusal.value.what} {refusal.value.remedy}"
    for sentence in (refusal.value.what, refusal.value.remedy):
        assert sentence.endswith(".")
        assert "\n" not in sentence


NESTED = [
    ("pgd.norm=l3", "study.attacks.pgd.norm=l3", "'l1', 'l2' or 'linf'"),
    ("pgd.name=a/b", "study.attacks.pgd.name=a/b", "a name of letters, digits and _"),
    ("type1.weights.norm=-1", "study.attacks.type1.weights.norm=-1", "greater than or equal to 0"),
    ("type1.confidence=null", "study.attacks.type1.confidence=null", "valid number"),
    ("type1.penalty=3", "study.attacks.type1.penalty=3", "a mapping with a _target_"),
    (
        "type2_latent.init=[real_image,mean]",
        "study.attacks.type2_latent.init=['real_image', 'mean'], but type2_latent",
        "study.attacks.type2_latent.init to",
    ),
    ("type1.residual.norm=l1", "study.attacks.type1.residual.norm=l1", "'l2' or 'linf'"),
    (
        "type2_latent.weights.cam=1",
        "study.attacks.type2_latent.weights.cam=1.0",
        "attack@study.attacks.type2_latent=",
    ),
    ("type1=3", "study.attacks.type1._target_ is missing", "cam_adv.attacks.base.Attack"),
    (
        "type1._target_=cam_adv.attacks.latent.attack.Missing",
        "study.attacks.type1._target_=cam_adv.attacks.latent.attack.Missing can't be imported",
        "module 'cam_adv.attacks.latent.attack'",
    ),
    (
        "type1._target_=torch.nn.Linear",
        "study.attacks.type1._target_=torch.nn.Linear is no Attack",
        "Give a subclass",
    ),
]


class TestNestedAttacks:
    """Attacks inside a study are named by their own paths."""

    @pytest.mark.parametrize(("change", "what", "remedy"), NESTED, ids=lambda part: part[:40])
    def test_error_names_the_path_of_the_attack(self, change: str, what: str, remedy: str) -> None:
        with pytest.raises(UserError) as refusal:
            settings_from(compose(["study=attack_comparison", f"study.attacks.{change}"]))
        assert what in refusal.value.what
        assert remedy in f"{refusal.value.what} {refusal.value.remedy}"

    @pytest.mark.parametrize(
        ("override", "sentence"),
        [
            ("+study.attacks.pgd.gamma=3", "study.attacks.pgd.gamma is no key of this config."),
            ("~study.attacks.pgd.steps", "study.attacks.pgd.steps is missing."),
            ("~study.attacks.pgd._target_", "study.attacks.pgd._target_ is missing."),
            ("+study.attacks.type1.penalty.caps=1", "study.attacks.type1.penalty.caps is no argument of"),
        ],
    )
    def test_unknown_and_missing_keys_name_the_path_of_the_attack(self, override: str, sentence: str) -> None:
        with pytest.raises(UserError) as refusal:
            settings_from(compose(["study=attack_comparison", override]))
        assert refusal.value.what.startswith(sentence)

    def test_training_attack_names_its_path(self) -> None:
        with pytest.raises(UserError, match=r"^study\.train\.steps=0 can't be used"):
            settings_from(compose(["study=adversarial_training", "study.train.steps=0"]))
