"""Every shipped config is valid, every wrong value is refused in words, and the command line passes them on."""

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from conftest import compose
from omegaconf import OmegaConf

from cam_adv.config import check_targets, settings_from
from cam_adv.errors import UserError
from cam_adv.naming import file_name

CONF = resources.files("cam_adv.conf")
GROUPS = (
    "dataset",
    "model/victim",
    "model/generator",
    "model/judge",
    "model/surrogates",
    "attack",
    "hardware",
    "experiment",
)
CHOICES = [
    (group, Path(file.name).stem)
    for group in GROUPS
    for file in sorted(CONF.joinpath(group).iterdir(), key=lambda file: file.name)
    if file.name.endswith(".yaml")
]
UNTARGETED = ("fgsm", "pgd", "pgd_l2", "ddn", "deepfool", "carlini_wagner")
NEEDED = {
    "image_folder": ["dataset.root=somewhere"],
    "own": ["model.victim.network._target_=cam_adv.networks.victims.LeNet"],
}
"""Values that a choice leaves to the user."""


class TestChoices:
    def test_are_found(self) -> None:
        assert {group for group, _ in CHOICES} == set(GROUPS)

    @pytest.mark.parametrize(("group", "name"), CHOICES, ids=lambda part: part)
    def test_is_valid_and_names_itself(self, group: str, name: str) -> None:
        config = compose([f"{group}={name}", *NEEDED.get(name, [])])
        settings_from(config)
        node = config if group == "experiment" else OmegaConf.select(config, group.replace("/", "."))
        if group != "hardware":
            assert node.name == name

    @pytest.mark.parametrize("experiment", [name for group, name in CHOICES if group == "experiment"])
    @pytest.mark.parametrize("attack", ["type1", "type2_latent", "pgd"])
    def test_experiments_combine_with_attacks_of_their_kind(self, experiment: str, attack: str) -> None:
        """An untargeted attack is refused where a target is named, one of Type II where Type I is studied."""
        config = compose([f"experiment={experiment}", f"attack={attack}"])
        if "target" in (config.attack if attack in UNTARGETED else ()):
            with pytest.raises(UserError, match=f"attack={attack} is untargeted"):
                settings_from(config)
        elif config.attack.kind == "type2" and config.stage == "reliability":
            with pytest.raises(UserError, match=f"attack={attack} is a Type II attack"):
                settings_from(config)
        else:
            settings = settings_from(config)
            assert (settings.name, settings.attack.name) == (experiment, attack)

    def test_stay_as_they_were_checked(self) -> None:
        settings = settings_from(compose(["attack.steps=17", "seed=3", "attack.strength=2", "outputs=there"]))
        assert (settings.attack.steps, settings.seed, settings.attack.strength) == (17, 3, 2.0)
        assert settings.outputs == Path("there")
        with pytest.raises(ValueError, match="frozen"):
            settings.seed = 4


WRONG = [
    (["attack.strength=-1"], "attack.strength=-1", "greater than or equal to 0"),
    (["attack.strength=inf"], "attack.strength=inf", "finite"),
    (["attack.strength=nan"], "attack.strength=nan", "finite"),
    (["attack.strength=true"], "attack.strength=True", "number"),
    (["attack.strength="], "attack.strength=", "valid number"),
    (["attack.images=0"], "attack.images=0", "greater than or equal to 1"),
    (["attack.images=2.5"], "attack.images=2.5", "valid integer"),
    (["attack.images=many"], "attack.images=many", "valid integer"),
    (["attack.images=null"], "attack.images=None", "valid integer"),
    (["attack.images=true"], "attack.images=True", "integer"),
    (["attack.steps=0"], "attack.steps=0", "greater than or equal to 1"),
    (["attack.learning_rate=0"], "attack.learning_rate=0", "greater than 0"),
    (["attack.learning_rate=fast"], "attack.learning_rate=fast", "valid number"),
    (["attack.frames=1"], "attack.frames=1", "greater than or equal to 2"),
    (["attack.batch_size=-3"], "attack.batch_size=-3", "greater than or equal to 1"),
    (["attack.confidence=1"], "attack.confidence=1", "less than 1"),
    (["attack.confidence=90%"], "attack.confidence=90%", "valid number"),
    (["attack.target=seven"], "attack.target=seven", "'random', 'next' or 'every'"),
    (["attack.target=seven"], "attack.target=seven", "valid integer"),
    (["attack.target=-1"], "attack.target=-1", "greater than or equal to 0"),
    (["attack.target=10"], "attack.target=10, but mnist_5k has no such class", "0 to 9"),
    (["attack.source=10"], "attack.source=10, but mnist_5k has no such class", "0 to 9"),
    (["attack.source=7", "attack.target=7"], "attack.target=7 is the class that the images already have", "another"),
    (["attack.weights.norm=-0.1"], "attack.weights.norm=-0.1", "greater than or equal to 0"),
    (["+attack.weights.extra=1"], "attack.weights.extra is no key", "Remove attack.weights.extra"),
    (["~attack.weights.norm"], "attack.weights.norm is missing", "+attack.weights.norm=VALUE"),
    (["~attack.multiplier._target_"], "attack.multiplier=", "a mapping with a _target_"),
    (["attack.multiplier=3"], "attack.multiplier=3", "a mapping with a _target_"),
    (["+attack.multiplier.caps=1"], "attack.multiplier.caps is no argument", "write cap"),
    (["~attack.multiplier.rate"], "attack.multiplier.rate", "+attack.multiplier.rate=VALUE"),
    (["dataset=image_folder"], "dataset.root has no value", "dataset.root=VALUE"),
    (["dataset.split.validation=0"], "dataset.split.validation=0", "greater than 0"),
    (["dataset.split.validation=0.5", "dataset.split.test=0.5"], "nothing is left", "Lower dataset.split"),
    (["dataset.split.test=0.2x"], "dataset.split.test=0.2x", "valid number"),
    (["dataset.classes=1"], "dataset.classes=1", "greater than or equal to 2"),
    (["dataset.pictures=[[7]]"], "dataset.pictures.0", "missing"),
    (["dataset.pictures=[[7,7]]"], "dataset.pictures[0] goes from class 7 to itself", "two different"),
    (["dataset.pictures=[[7,9],[3,12]]"], "dataset.pictures[1][1]=12", "0 to 9"),
    (["dataset.pictures=7"], "dataset.pictures=7", "list"),
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
    (["hardware.devices=0"], "hardware.devices=0", "greater than or equal to 1"),
    (["hardware.precision=8"], "hardware.precision=8", "'32-true'"),
    (["attack.kind=type3"], "attack.kind=type3", "'type1' or 'type2'"),
    (["attack.method=pdg"], "attack.method=pdg", "'latent_walk', 'fgsm', 'pgd'"),
    (["~attack.method"], "attack.method is missing", "+attack.method=VALUE"),
    (["attack.kind=type2"], "attack.starts=['lookalike', 'mean'], but type1 is a Type II attack", "[mean]"),
    (["attack=type2_latent", "attack.weights.cam=1"], "attack.weights.cam=1.0 holds the map", "attack=type1_cam"),
    (
        ["attack=type2_latent", "reliability=standard", "stage=reliability"],
        "type2_latent is a Type II",
        "attack=type1",
    ),
    (["attack=pgd", "experiment=cam_reliability"], "attack=pgd is a Type II attack", "attack=type1"),
    (["attack=pgd", "attack.kind=type1"], "attack.kind=type1", "'type2'"),
    (["attack=pgd", "+attack.target=3"], "attack.target=3, but attack=pgd is untargeted", "attack=type2_latent"),
    (["attack=pgd", "+attack.weights.cam=1"], "attack.weights is no key", "Remove attack.weights"),
    (["attack=pgd", "attack.strength=null"], "attack.strength=None", "valid number"),
    (["attack=pgd", "attack.norm=l1"], "attack.norm=l1", "'linf' or 'l2'"),
    (["attack=pgd", "attack.step_size=0"], "attack.step_size=0", "greater than 0"),
    (["attack=fgsm", "+attack.steps=3"], "attack.steps is no key", "Remove attack.steps"),
    (["attack=ddn", "attack.norm=linf"], "attack.norm=linf", "'l2'"),
    (["attack=ddn", "attack.gamma=1"], "attack.gamma=1", "less than 1"),
    (["attack=deepfool", "attack.source=10"], "attack.source=10, but mnist_5k has no such class", "0 to 9"),
    (["attack.margin=-1"], "attack.margin=-1", "greater than or equal to 0"),
    (["hardware.precision=64-true"], "hardware.precision=64-true", "'32-true', 'bf16-mixed' or '16-mixed'"),
    (["hardware.accelerator=tpu"], "hardware.accelerator=tpu", "'auto', 'cpu' or 'gpu'"),
    (["hardware.strategy=fsdp"], "hardware.strategy=fsdp", "'single' or 'ddp'"),
    (["stage=judges"], "stage=judges", "'victim', 'judge'"),
    (["seed=-1"], "seed=-1", "greater than or equal to 0"),
    (["seed=99999999999"], "seed=99999999999", "less than"),
    (["retrain=maybe"], "retrain=maybe", "valid boolean"),
    (["name=a/b"], "name=a/b", "match pattern"),
    (["model.victim.name=../x"], "model.victim.name=../x", "match pattern"),
    (["dataset.name=a/b"], "dataset.name=a/b", "match pattern"),
    (["+something=1"], "something is no key of this config", "Remove something"),
    (["outputs=${nowhere}"], "The config can't be resolved", "Mend"),
]


@pytest.mark.parametrize(
    ("overrides", "what", "remedy"), WRONG, ids=lambda part: "" if part is None else str(part)[:60]
)
def test_refuses_what_cannot_be_used(overrides: list[str], what: str, remedy: str) -> None:
    with pytest.raises(UserError) as refusal:
        settings_from(compose(overrides))
    assert what in refusal.value.what
    assert remedy in f"{refusal.value.what} {refusal.value.remedy}"
    for sentence in (refusal.value.what, refusal.value.remedy):
        assert sentence.endswith(".")
        assert "\n" not in sentence


class TestCheckTargets:
    @pytest.mark.parametrize(
        ("node", "told"),
        [
            ({"_target_": "torch.nn.Linear", "in_features": 3}, "a.out_features, which torch.nn.Linear needs"),
            ({"_target_": "torch.nn.Linear", "in_features": 3, "out_feature": 2}, "a.out_feature is no argument"),
            ({"_target_": "torch.nn.Lineal"}, "can't be imported.*\n.*, or write torch.nn.Linear"),
            ({"_target_": "torch"}, "can't be called: it is a module"),
            ({"_target_": ""}, "can't be imported"),
        ],
    )
    def test_refuses(self, node: dict, told: str) -> None:
        with pytest.raises(UserError, match=told):
            check_targets({"a": node})

    @pytest.mark.parametrize(
        "node",
        [
            {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 2},
            {"_target_": "torchvision.models.resnet18", "anything": 3},
            {"_target_": "cam_adv.networks.victims.MLP", "hidden": 4},
        ],
    )
    def test_accepts(self, node: dict) -> None:
        check_targets({"a": {"b": node}})


class TestFolderName:
    @pytest.mark.parametrize(
        ("overrides", "name"),
        [
            ("attack.strength=1,seed=2", "attack.strength=1,seed=2"),
            ("dataset.root=/a b/ü,dataset.pictures=[[1, 2]]", "dataset.root=_a_b_ü,dataset.pictures=_1,_2_"),
            ("x=../../etc", "x=.._.._etc"),
        ],
    )
    def test_holds_nothing_that_a_path_may_not(self, overrides: str, name: str) -> None:
        assert file_name(overrides) == name

    @pytest.mark.parametrize("letter", ["a", "ü", "犬", "𝒛"])
    def test_fits_a_file_system(self, letter: str) -> None:
        name = file_name(f"x={letter * 500}")
        assert name.startswith(f"x={letter * 10}")
        assert len(f"123_{name}".encode()) <= 255


class TestCommandLine:
    """The command itself, each time in a process of its own."""

    @pytest.mark.parametrize(
        ("overrides", "told"),
        [
            (["attack.strenght=3"], ["There is no key attack.strenght", "Did you mean attack.strength?"]),
            (["attack=typ1"], ["There is no config attack/typ1", "Choose attack from", "type1"]),
            (["experiment=none_such"], ["There is no config experiment/none_such", "seven_to_nine"]),
            (["attack.images=[1"], ["[1"]),
            (["attack.strength=-1"], ["attack.strength=-1 can't be used", "Set attack.strength"]),
        ],
        ids=lambda part: part[0] if len(part) == 1 else "",
    )
    def test_refuses_in_words(self, cam_adv, tmp_path: Path, overrides: list[str], told: list[str]) -> None:
        answer = cam_adv(overrides, tmp_path)
        assert answer.code == 2
        for fragment in told:
            assert fragment in answer.err
        assert "Traceback" not in answer.err
        assert not (tmp_path / "outputs" / "models").exists()

    @pytest.mark.parametrize("debug", ["debug=true", "debug=True", "++debug=true"])
    def test_shows_a_traceback_when_asked(self, command, tmp_path: Path, debug: str) -> None:
        answer = command("attack.strength=-1", debug)
        assert answer.code == 2
        assert "Traceback" in answer.err
        assert "attack.strength=-1 can't be used" in answer.err

    def test_shows_no_traceback_unasked(self, command) -> None:
        answer = command("attack.strength=-1")
        assert (answer.code, "Traceback" in answer.err) == (2, False)

    def test_prints_the_config_without_torch(self, tmp_path: Path) -> None:
        program = (
            "import sys; from cam_adv.cli import main\ntry: main()\nfinally: print('TORCH', 'torch' in sys.modules)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "--cfg", "job", "attack.steps=17"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        config, _, torch_was_there = done.stdout.partition("TORCH")
        assert OmegaConf.create(config).attack.steps == 17
        assert torch_was_there.strip() == "False"
        assert list(tmp_path.iterdir()) == []
