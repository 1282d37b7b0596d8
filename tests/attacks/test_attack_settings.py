"""Settings of attacks: Python refuses what the command line refuses, with the same two sentences."""

from functools import cache
from importlib import resources
from typing import Any

import pytest
from conftest import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from pydantic import ValidationError

from cam_adv.attacks.base import Attack
from cam_adv.attacks.ddn import DDN
from cam_adv.attacks.foolbox_attacks import CarliniWagner, DeepFool
from cam_adv.attacks.latent.attack import LatentAttack
from cam_adv.attacks.pgd import PGD
from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError

CLASSES: dict[str, type[Attack]] = {
    "type1": LatentAttack,
    "type1_cam": LatentAttack,
    "type1_fast": LatentAttack,
    "type1_latent": LatentAttack,
    "type1_long": LatentAttack,
    "type1_photographs": LatentAttack,
    "type1_robust": LatentAttack,
    "type2_latent": LatentAttack,
    "tang2018": LatentAttack,
    "transition": LatentAttack,
    "fgsm": PGD,
    "pgd": PGD,
    "pgd_l2": PGD,
    "ddn": DDN,
    "deepfool": DeepFool,
    "carlini_wagner": CarliniWagner,
}


@cache
def _shipped(name: str) -> Any:
    return OmegaConf.to_container(compose([f"attack={name}"]).attack, resolve=True)


def arguments(name: str, change: str | None = None) -> dict[str, Any]:
    """The arguments of a shipped attack in Python, changed by an override of the command line."""
    config = OmegaConf.create(_shipped(name))
    if change is not None:
        (override,) = OverridesParser.create().parse_overrides([change])
        OmegaConf.update(config, override.key_or_group.removeprefix("attack."), override.value(), force_add=True)
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    del values["_target_"]
    return {str(key): value for key, value in values.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSES)
def test_shipped_values_give_the_same_attack_as_the_command_line(name: str) -> None:
    assert CLASSES[name](**arguments(name)) == settings_from(compose([f"attack={name}"])).attack


def test_every_shipped_attack_is_tested() -> None:
    files = (file.name for file in (resources.files("cam_adv.conf") / "attack").iterdir())
    assert {name.removesuffix(".yaml") for name in files if name.endswith(".yaml")} == set(CLASSES)


def test_type1_and_its_like_alone_have_a_residual_and_type1_latent_is_type1_without_it() -> None:
    attacks = {name: CLASSES[name](**arguments(name)) for name, kind in CLASSES.items() if kind is LatentAttack}
    sizes = {name: attack.residual.eps for name, attack in attacks.items() if isinstance(attack, LatentAttack)}
    assert sizes == {
        "type1": 1.0, "type1_cam": 1.0, "type1_fast": 1.0, "type1_long": 1.0, "type1_robust": 1.0,
        "type1_photographs": 1.5, "type1_latent": 0, "type2_latent": 0, "tang2018": 0, "transition": 0,
    }  # fmt: skip
    without = _shipped("type1") | {"name": "type1_latent", "residual": _shipped("type1")["residual"] | {"eps": 0.0}}
    assert _shipped("type1_latent") == without
    others = {name: attack.start_names for name, attack in attacks.items() if attack.start_names != ["mean"]}
    assert others == {"type1_fast": ["class_shift"]}


REFUSED = [
    ("pgd", "attack.strength=-1"),
    ("pgd", "attack.strength=true"),
    ("pgd", "attack.strength=null"),
    ("pgd", "attack.strength=much"),
    ("pgd", "attack.strength=inf"),
    ("pgd", "attack.strength=nan"),
    ("pgd", "attack.norm=l3"),
    ("pgd", "attack.steps=0"),
    ("pgd", "attack.steps=2.5"),
    ("pgd", "attack.step_size=0"),
    ("pgd", "attack.sparsity=0"),
    ("pgd", "attack.sparsity=1.5"),
    ("pgd", "attack.random_start=maybe"),
    ("pgd", "attack.kind=type1"),
    ("pgd", "attack.trace_points=1"),
    ("pgd", "attack.batch_size=0"),
    ("pgd", "attack.name=../pgd"),
    ("pgd", "+attack.strenght=3"),
    ("ddn", "attack.norm=linf"),
    ("ddn", "attack.gamma=1"),
    ("ddn", "attack.first_radius=0"),
    ("deepfool", "attack.norm=l1"),
    ("deepfool", "attack.overshoot=-0.1"),
    ("carlini_wagner", "attack.norm=linf"),
    ("carlini_wagner", "attack.searches=0"),
    ("carlini_wagner", "attack.first_constant=0"),
    ("type1", "attack.kind=type3"),
    ("type1", "attack.confidence=null"),
    ("type1", "attack.confidence=1"),
    ("type1", "attack.margin=-1"),
    ("type1", "attack.learning_rate=0"),
    ("type1", "attack.init=[]"),
    ("type1", "attack.init=[nearest]"),
    ("type1", "attack.init_candidates=0"),
    ("type1", "attack.init_distance_weight=-1"),
    ("type1", "attack.residual.eps=-1"),
    ("type1", "attack.residual.eps=inf"),
    ("type1", "attack.residual.norm=l1"),
    ("type1", "attack.residual.scale=0"),
    ("type1", "attack.residual=3"),
    ("type1", "+attack.residual.radius=1"),
    ("type1", "attack.weights.density=-1"),
    ("type1", "attack.proxies_per_step=0"),
    ("type1", "attack.early_stop_prob=0"),
    ("type1", "attack.restart_below_prob=1.1"),
    ("type1", "attack.weights.f2=-1"),
    ("type1", "+attack.weights.f3=1"),
    ("type1", "attack.latent_noise.samples=0"),
    ("type1", "attack.views.shift=-1"),
    ("type1", "attack.penalty=none"),
    ("type1", "attack.penalty._target_=cam_adv.attacks.latent.penalty.Nothing"),
    ("type1", "+attack.penalty.slope=1"),
    ("type1_robust", "attack.interpretation.samples=0"),
    ("type1_robust", "attack.interpretation.level=1"),
    ("type1_robust", "attack.interpretation.victims=[]"),
    ("type2_latent", "attack.init=[real_image]"),
    ("type2_latent", "attack.init=[mean,mean]"),
    ("type2_latent", "attack.weights.cam=1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "change"), REFUSED)
def test_python_and_command_line_refuse_in_the_same_two_sentences(name: str, change: str) -> None:
    with pytest.raises(UserError) as in_python:
        CLASSES[name](**arguments(name, change))
    with pytest.raises(UserError) as on_command_line:
        settings_from(compose([f"attack={name}", change]))
    what, remedy = in_python.value.what, in_python.value.remedy
    assert (what, remedy) == (on_command_line.value.what, on_command_line.value.remedy)
    assert change.lstrip("+").split("=")[0] in what
    assert what.endswith(".")
    assert remedy.endswith(".")


@pytest.mark.parametrize(
    ("name", "key"), [("pgd", "strength"), ("ddn", "gamma"), ("type1", "weights"), ("type1", "residual")]
)
def test_missing_argument_raises(name: str, key: str) -> None:
    values = arguments(name)
    del values[key]
    with pytest.raises(UserError) as in_python:
        CLASSES[name](**values)
    assert in_python.value.what == f"attack.{key} is missing."
    with pytest.raises(UserError) as on_command_line:
        settings_from(compose([f"attack={name}", f"~attack.{key}"]))
    assert on_command_line.value.what == in_python.value.what


def test_unknown_argument_names_the_key() -> None:
    with pytest.raises(UserError) as refusal:
        PGD(**arguments("pgd"), strenght=3)  # type: ignore[call-arg]
    assert refusal.value.what == "attack.strenght is no key of this config."


def test_refusal_names_the_allowed_values() -> None:
    with pytest.raises(UserError) as refusal:
        PGD(**arguments("pgd", "attack.norm=l3"))
    assert refusal.value.what == "attack.norm=l3 can't be used: it should be 'l1', 'l2' or 'linf'."
    with pytest.raises(UserError, match="should be greater than or equal to 0"):
        PGD(**arguments("pgd", "attack.strength=-1"))


def test_refusal_inside_a_study_names_the_path_in_its_config() -> None:
    overrides = ["study=attack_comparison", "study.attacks.pgd.strength=-1"]
    with pytest.raises(UserError) as refusal:
        settings_from(compose(overrides))
    assert "study.attacks.pgd.strength=-1" in refusal.value.what
    assert "study.attacks.pgd.strength" in refusal.value.remedy


def test_attack_is_immutable() -> None:
    attack = PGD(**arguments("pgd"))
    with pytest.raises(ValidationError, match="frozen"):
        attack.strength = 3  # type: ignore[misc]
