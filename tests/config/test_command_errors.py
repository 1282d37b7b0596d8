"""Overrides that Hydra can't use: what is wrong, and what to write."""

import re
import shlex

import pytest
from conftest import compose
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from cam_adv.config.command_errors import explain_config_error


def refusal(overrides: list[str]) -> tuple[str, str]:
    with pytest.raises((HydraException, OmegaConfBaseException)) as error:
        compose(overrides)
    return explain_config_error(error.value, overrides)


@pytest.mark.parametrize(
    ("override", "what", "remedy"),
    [
        ("attack.strenght=3", "There is no key attack.strenght.", "Did you mean attack.strength? See all keys with"),
        ("study.imges=3", "There is no key study.imges.", "Did you mean study.images? See all keys with"),
        ("~sead", "There is no key sead.", "Did you mean seed? See all keys with cam-adv --cfg job."),
        ("zzz=3", "There is no key zzz.", "See all keys with cam-adv --cfg job."),
        ("dataset.source={_target_:os.getcwd,kind:3}", "There is no key dataset.source.kind.", "Did you mean"),
        ("attack=typ1", "There is no config attack/typ1.", "Choose attack from carlini_wagner, ddn, deepfool, fgsm,"),
        ("study=nothing", "There is no config study/nothing.", "Choose study from adversarial_training, attack,"),
        ("attack.steps=[1", "The override attack.steps=[1 can't be read.", "Write key=value, and close each bracket"),
        ("seed=${a.b", "The override seed=${a.b can't be read.", "Write key=value, and close each bracket"),
        ("+seed=3", "seed is a key of this config already.", "Write seed=3 without the +."),
        (
            "~attack.steps=9",
            "Could not delete from config. The value of 'attack.steps'",
            "Write ~attack.steps without",
        ),
        ("seed=range(3)", "The override seed=range(3) gives several values,", "Add -m for a sweep."),
        ("nothing", "The override nothing can't be read.", "Write key=value, and close each bracket"),
        (
            "nothing@x=1",
            "Override nothing@x=1 looks like a config group override, but config group 'nothing' does not exist.",
            "See cam-adv --help.",
        ),
    ],
)
def test_unusable_override_is_refused_with_a_remedy(override: str, what: str, remedy: str) -> None:
    answer = refusal([override])
    assert answer[0].startswith(what)
    assert answer[1].startswith(remedy)


@pytest.mark.parametrize(
    ("overrides", "remedy"),
    [
        (["role=victim"], "Choose study=train, which has it."),
        (["answers=[a.json]"], "Choose study=reading, which has it."),
        (
            ["study.victims=[0]"],
            "Choose study=adversarial_training or study=explanation_reliability, which have it.",
        ),
        (["study.radii.l1=1", "study=attack"], "Choose study=min_perturbation, which has it."),
        (
            ["attack@study.attacks.pgd=pgd"],
            "Choose study=adversarial_training or study=attack_comparison, which have it.",
        ),
        (
            ["study.images=3"],
            "Choose study=attack_comparison, study=explanation_reliability, study=judge_agreement, "
            "study=min_perturbation or study=robust_explanation, which have it.",
        ),
    ],
)
def test_key_of_other_studies_is_answered_with_these_studies(overrides: list[str], remedy: str) -> None:
    key = overrides[0].split("=")[0]
    assert refusal(overrides) == (f"There is no key {key} in this config.", remedy)


def test_key_of_another_attack_is_not_suggested() -> None:
    """The default attack has it, the chosen one has not."""
    what, remedy = refusal(["attack=pgd", "attack.weights.f2=3"])
    assert what == "There is no key attack.weights.f2."
    assert "attack.weights.f2" not in remedy
    assert "study=" not in remedy


@pytest.mark.parametrize(
    "path",
    [
        "/tmp/a=b",
        "/tmp/run(1)",
        "/tmp/häuser",
        "/tmp/犬",
        "~/x",
        "/tmp/it's",
        '/tmp/"quoted"',
        '/tmp/it\'s "quoted"',
        "/tmp/a;b",
        "/tmp/a&b",
        "/tmp/a#b!",
        "/tmp/a{b}",
        "/tmp/$x=1",
        "/tmp/a,b",
        "a\\b=",
        "a=b\\",
    ],
)
def test_path_that_hydra_cannot_read_is_answered_with_a_line_to_paste(path: str) -> None:
    _, remedy = refusal([f"outputs={path}"])
    written = re.search(r"[Ww]rite (.*?)( for one value with a comma)?\.$", remedy)
    assert written is not None
    (word,) = shlex.split(written[1])
    assert compose([word]).outputs == path


def test_simple_value_is_quoted_without_single_quotes_of_the_shell() -> None:
    assert refusal(["outputs=/tmp/a=b"])[1] == "Write \"outputs='/tmp/a=b'\"."


def test_texts_inside_a_list_are_quoted_one_by_one() -> None:
    what, remedy = refusal(["dataset.example_pairs=[[cat,häuser],[2,ist=das]]"])
    assert what == "The override dataset.example_pairs=[[cat,häuser],[2,ist=das]] can't be read."
    assert remedy == "Write \"dataset.example_pairs=[[cat,'häuser'],[2,'ist=das']]\"."
    (word,) = shlex.split(remedy.removeprefix("Write ").removesuffix("."))
    assert compose([word]).dataset.example_pairs == [["cat", "häuser"], [2, "ist=das"]]


def test_several_values_without_a_sweep_are_refused_with_both_ways() -> None:
    what, remedy = refusal(["seed=1,2"])
    assert what == "The override seed=1,2 gives several values, which only a sweep takes."
    assert remedy == "Add -m for a sweep, or write \"seed='1,2'\" for one value with a comma."
