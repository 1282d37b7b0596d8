"""Keys and choices of earlier versions are answered with the override to write now, and that override works."""

from collections.abc import Callable

import pytest
from conftest import CommandResult, compose
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cam_adv.config.command_errors import explain_config_error
from cam_adv.config.compose import settings_from
from cam_adv.config.renamed_keys import renamed, renamed_choice
from cam_adv.errors import UserError

BOUND = "study=min_perturbation"
COMPARISON = "study=attack_comparison"
TRAINING = "study=adversarial_training"
RELIABILITY = "study=explanation_reliability"
AGREEMENT = "study=judge_agreement"

STAGES = {
    "victim": "study=train role=victim",
    "judge": "study=train role=judge",
    "surrogates": "study=train role=surrogates",
    "generator": "study=train role=generator",
    "attack": "study=attack",
    "agreement": AGREEMENT,
    "reliability": RELIABILITY,
    "bound": BOUND,
    "kinds": COMPARISON,
    "defence": TRAINING,
}

OVERRIDES = {
    "attack.images=3": "selection.images=3",
    "attack.source=7": "selection.source=7",
    "attack.target=next": "selection.target=next",
    "attack.frames=9": "attack.trace_points=9",
    "attack.starts=[lookalike,mean]": "attack.init=[real_image,mean]",
    "attack.start_distance=2.5": "attack.init_distance_weight=2.5",
    "attack.rest_at=0.98": "attack.early_stop_prob=0.98",
    "attack.retry_below=0.8": "attack.restart_below_prob=0.8",
    "attack.multiplier.start=1": "attack.penalty.start=1",
    "attack.multiplier.rate=0.1": "attack.penalty.rate=0.1",
    "attack.multiplier.gain=0.1": "attack.penalty.proportional_gain=0.1",
    "attack.multiplier.confidence=0.8": "attack.penalty.confidence=0.8",
    "attack.multiplier.surplus=0.1": "attack.penalty.target_margin=0.1",
    "attack.multiplier.cap=9": "attack.penalty.cap=9",
    "attack.method=pgd": "attack=pgd",
    "attack.method=latent_walk": "attack=type1",
    "dataset.pictures=[[1,2]]": "dataset.example_pairs=[[1,2]]",
    "hardware.placement=free": "hardware.device=idle",
    "hardware.placement=first": "hardware.device=first",
    "hardware.placement=1": "hardware.device=1",
    "people.images=three/free.npy": f"{AGREEMENT} study.images=three/free.npy",
    "people.labels=labels.npy": f"{AGREEMENT} study.labels=labels.npy",
    "bound=standard": BOUND,
    "bound.images=3": f"{BOUND} study.images=3",
    "bound.radii.l1=2": f"{BOUND} study.radii.l1=2",
    "bound.batches=4": f"{BOUND} study.batches=4",
    "bound.samples=4": f"{BOUND} study.samples=4",
    "bound.shape_penalty=1": f"{BOUND} study.shape_penalty=1",
    "bound.poor_below=0.1": f"{BOUND} study.poor_below=0.1",
    "bound.search.ddn.gamma=0.1": f"{BOUND} study.search.ddn.gamma=0.1",
    "bound.search.pgd.halvings=4": f"{BOUND} study.search.pgd.bisection_steps=4",
    "bound.search.pgd.share=0.1": f"{BOUND} study.search.pgd.share=0.1",
    "bound.search.border_halvings=4": f"{BOUND} study.search.border_bisection_steps=4",
    "kinds=standard": COMPARISON,
    "kinds.images=3": f"{COMPARISON} study.images=3",
    "kinds.false_alarms=0.1": f"{COMPARISON} study.target_fpr=0.1",
    "kinds.resamples=10": f"{COMPARISON} study.n_resamples=10",
    "kinds.level=0.9": f"{COMPARISON} study.level=0.9",
    "kinds.detectors.bits=2": f"{COMPARISON} study.detectors.bits=2",
    "kinds.detectors.seen_from=0.8": f"{COMPARISON} study.detectors.min_auc=0.8",
    "kinds.perturbed_pixels.marked=0.1": f"{COMPARISON} study.perturbed_pixels.marked=0.1",
    "kinds.attacks.pgd.frames=9": f"{COMPARISON} study.attacks.pgd.trace_points=9",
    "kinds.attacks.pgd.norm=linf": f"{COMPARISON} study.attacks.pgd.norm=linf",
    "kinds.attacks.pgd.method=fgsm": f"{COMPARISON} attack@study.attacks.pgd=fgsm",
    "kinds.attacks.type1.starts=[mean]": f"{COMPARISON} study.attacks.type1.init=[mean]",
    "kinds.attacks.type1.multiplier.surplus=1": f"{COMPARISON} study.attacks.type1.penalty.target_margin=1",
    "kinds.attacks.type1.images=3": f"{COMPARISON} study.images=3",
    "attack@kinds.attacks.pgd=pgd": f"{COMPARISON} attack@study.attacks.pgd=pgd",
    "+attack@kinds.attacks.mine=ddn": f"{COMPARISON} +attack@study.attacks.mine=ddn",
    "defence=standard": TRAINING,
    "defence.trainings=[type1]": f"{TRAINING} study.trainings=[type1]",
    "defence.images=3": f"{TRAINING} study.type1_images.images=3",
    "defence.share=0.1": f"{TRAINING} study.type1_images.share=0.1",
    "defence.adversarial_radius=1": f"{TRAINING} study.adversarial_radii=[1]",
    "defence.test_images=3": f"{TRAINING} study.test_images=3",
    "defence.matters=0.2": f"{TRAINING} study.min_effect=0.2",
    "defence.train.rest_at=0.9": f"{TRAINING} study.train.early_stop_prob=0.9",
    "defence.train.source=7": f"{TRAINING} selection.source=7",
    "defence.attacks.type1.target=next": f"{TRAINING} selection.target=next",
    "defence.attacks.pgd.frames=9": f"{TRAINING} study.attacks.pgd.trace_points=9",
    "attack@defence.train=tang2018": f"{TRAINING} attack@study.train=tang2018",
    "reliability=standard": RELIABILITY,
    "reliability.victims=[0,1]": f"{RELIABILITY} study.victims=[0,1]",
    "reliability.images=3": f"{RELIABILITY} study.images=3",
    "reliability.targets=1": f"{RELIABILITY} study.targets=1",
    "reliability.confidence=0.98": f"{RELIABILITY} study.confidence=0.98",
    "reliability.level=0.9": f"{RELIABILITY} study.level=0.9",
    "reliability.matters.concealment=0.1": f"{RELIABILITY} study.min_effect.concealment=0.1",
    "reliability.erasure_steps=4": f"{RELIABILITY} study.deletion_insertion_steps=4",
    "reliability.blur=1": f"{RELIABILITY} study.blur=1",
    "reliability.caliper=0.1": f"{RELIABILITY} study.caliper=0.1",
    "reliability.folds=3": f"{RELIABILITY} study.folds=3",
    "reliability.false_alarms=0.1": f"{RELIABILITY} study.target_fpr=0.1",
    "reliability.trajectories=3": f"{RELIABILITY} study.trajectories=3",
    "reliability.explanations.grad_cam.method.rectify=false": (
        f"{RELIABILITY} study.attributions.grad_cam.method.rectify=false"
    ),
    "reliability.explanations.cam.method._target_=cam_adv.attributions.class_maps.cam": (
        f"{RELIABILITY} study.attributions.cam.method._target_=cam_adv.attributions.class_maps.cam"
    ),
    "reliability.controls.real_pair.matched=false": f"{RELIABILITY} study.controls.real_pair.matched=false",
    "~reliability.controls.latent_walk": f"{RELIABILITY} ~study.controls.random_latent_perturbation",
    "explanation@reliability.explanations.cam=grad_cam": f"{RELIABILITY} attribution@study.attributions.cam=grad_cam",
    "+explanation@reliability.explanations.mine=cam": f"{RELIABILITY} +attribution@study.attributions.mine=cam",
    "+control@reliability.controls.mine=latent_walk": (
        f"{RELIABILITY} +control@study.controls.mine=random_latent_perturbation"
    ),
    "experiment=roc": COMPARISON,
    "experiment=cam_reliability": RELIABILITY,
    "experiment=defence": TRAINING,
    "model/surrogates=three": "model/surrogates=default",
    # Added to the config by force, as a user's own config file may do.
    "+attack.images=3": "selection.images=3",
    "++attack.frames=9": "attack.trace_points=9",
    "+reliability.victims=[0,1]": f"{RELIABILITY} study.victims=[0,1]",
    "+reliability=standard": RELIABILITY,
    **{f"stage={stage}": study for stage, study in STAGES.items()},
}
"""An override of an earlier version → what is written now."""


def refusal(overrides: list[str]) -> tuple[str, str]:
    """The two sentences with which these overrides are refused."""
    try:
        settings_from(compose(overrides), overrides)
    except UserError as error:
        return error.what, error.remedy
    except (HydraException, OmegaConfBaseException) as error:
        return explain_config_error(error, overrides)
    pytest.fail("accepted")


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), OVERRIDES.items(), ids=lambda part: part)
def test_old_override_is_answered_with_its_new_form(old: str, new: str) -> None:
    what, remedy = refusal([old])
    assert remedy == f"Write {new}."
    assert " now" in what


def new_forms() -> dict[str, list[str]]:
    """The new overrides in lists that can be composed at once: choices one by one, values together by study."""
    lists: dict[str, set[str]] = {}
    for new in OVERRIDES.values():
        words = new.split()
        choices = [word for word in words if "." not in word.split("=")[0] or word[0] in "+~" or "@" in word]
        lists.setdefault(" ".join(choices) or "no choice", set()).update(words)
    return {choices: sorted(words) for choices, words in lists.items()}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", new_forms().values(), ids=new_forms())
def test_new_forms_of_overrides_compose(overrides: list[str]) -> None:
    settings_from(compose(overrides))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("stage", "stage is called study now."),
        ("kinds", "kinds is the study attack_comparison now."),
        ("attack.images", "attack.images is called selection.images now."),
        ("hardware.placement", "hardware.placement is called hardware.device now."),
        (
            "reliability.victims",
            "reliability.victims is called study.victims now, with study=explanation_reliability.",
        ),
        (
            "attack@kinds.attacks.pgd",
            "attack@kinds.attacks.pgd is called attack@study.attacks.pgd now, with study=attack_comparison.",
        ),
    ],
)
def test_message_names_the_new_key_and_its_study(key: str, what: str) -> None:
    words = renamed(key, [f"{key}=1"])
    assert words is not None
    assert words[0] == what


def test_study_that_is_chosen_already_is_not_repeated() -> None:
    assert refusal([RELIABILITY, "reliability.images=3"])[1] == "Write study.images=3."
    assert refusal([COMPARISON, "study.resamples=10"]) == (
        "study.resamples is called study.n_resamples now.",
        "Write study.n_resamples=10.",
    )


def test_unknown_stage_is_answered_with_where_studies_are_listed() -> None:
    assert refusal(["stage=nothing"])[1] == "Write study=NAME; cam-adv --help lists them."


@pytest.mark.parametrize(
    ("override", "new"),
    [
        ("{name: mine, frames: 9}", "study.attacks.pgd.trace_points"),
        ("{name: mine, method: pgd}", "study.attacks.pgd._target_"),
    ],
)
def test_old_key_of_a_config_file_is_answered_with_its_new_name(override: str, new: str) -> None:
    """A file sets its keys without an override, so the remedy has no value to repeat."""
    config = OmegaConf.merge(
        OmegaConf.create(OmegaConf.to_container(compose([COMPARISON]))),
        {"study": {"attacks": {"pgd": OmegaConf.create(override)}}},
    )
    with pytest.raises(UserError, match="is called") as error:
        settings_from(config)
    assert error.value.remedy.startswith(f"Write {new} instead of study.attacks.pgd.")


@pytest.mark.parametrize("key", ["attack.strength", "selection.images", "study.images", "attack@study.train", "seed"])
def test_present_key_is_not_renamed(key: str) -> None:
    assert renamed(key, [f"{key}=1"]) is None


@pytest.mark.parametrize("choice", ["attack/typ1", "experiment/all_pairs", "model/surrogates/four", "control/cam"])
def test_present_or_unknown_choice_is_not_renamed(choice: str) -> None:
    assert renamed_choice(choice) is None


def test_choice_without_override_is_answered_with_its_new_name() -> None:
    """It stands in a config file's defaults list."""
    assert renamed_choice("control/latent_walk") == (
        "control=latent_walk is called control=random_latent_perturbation now.",
        "Write random_latent_perturbation instead of latent_walk.",
    )


@pytest.mark.parametrize("old", ["stage=kinds", "attack.images=3", "+attack.images=3", "experiment=roc"])
def test_command_refuses_old_override_with_its_new_form(command: Callable[..., CommandResult], old: str) -> None:
    answer = command(old)
    new = OVERRIDES[old]
    assert answer.code == 2
    assert answer.err.endswith(f"Write {new}.\n")
