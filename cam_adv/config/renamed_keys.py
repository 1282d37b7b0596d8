"""What keys and choices of earlier versions are called now."""

import re
from collections.abc import Iterable

STUDIES = {
    "bound": "min_perturbation",
    "kinds": "attack_comparison",
    "defence": "adversarial_training",
    "reliability": "explanation_reliability",
    "people": "judge_agreement",
}
"""Sections that held the settings of one study, which stand in `study` now."""

STAGES = {
    "attack": "study=attack",
    "agreement": "study=judge_agreement",
    **{stage: f"study={STUDIES[stage]}" for stage in ("bound", "kinds", "defence", "reliability")},
    **{role: f"study=train role={role}" for role in ("victim", "judge", "surrogates", "generator")},
}

EXPERIMENTS = {"cam_reliability": "reliability", "roc": "kinds", "defence": "defence"}
"""Experiments that chose a stage and did nothing else."""

KEYS = {
    "attack.images": "selection.images",
    "attack.source": "selection.source",
    "attack.target": "selection.target",
    "dataset.pictures": "dataset.example_pairs",
    "defence.adversarial_radius": "study.adversarial_radii",
    "defence.images": "study.type1_images.images",
    "defence.share": "study.type1_images.share",
    "hardware.placement": "hardware.device",
}

LISTS = ("study.adversarial_radii",)
"""Keys whose earlier version had one value instead of a list."""

PARTS = {
    "border_halvings": "border_bisection_steps",
    "erasure_steps": "deletion_insertion_steps",
    "explanations": "attributions",
    "false_alarms": "target_fpr",
    "frames": "trace_points",
    "gain": "proportional_gain",
    "halvings": "bisection_steps",
    "latent_walk": "random_latent_perturbation",
    "matters": "min_effect",
    "multiplier": "penalty",
    "resamples": "n_resamples",
    "rest_at": "early_stop_prob",
    "retry_below": "restart_below_prob",
    "seen_from": "min_auc",
    "start_distance": "init_distance_weight",
    "starts": "init",
    "surplus": "target_margin",
}
"""Parts of keys, anywhere in the sections `attack` and `study`."""

NESTED = {
    r"^(attack|study\.train|study\.attacks\.\w+)\.method$": r"\1._target_",
    r"^study\.(train|attacks\.\w+)\.images$": "study.images",
    r"^study\.(train|attacks\.\w+)\.(source|target)$": r"selection.\2",
}
"""Keys of an attack, wherever it stands, that no attack has any more."""

GROUPS = {"explanation": "attribution"}

VALUES = {
    "control": {"latent_walk": "random_latent_perturbation"},
    "device": {"free": "idle"},
    "init": {"lookalike": "real_image"},
    "model/surrogates": {"three": "default"},
}
"""Values with another name, by the last part of the present key or by group."""

Words = tuple[str, str]
"""What is wrong, and what to write instead."""


def renamed(key: str, overrides: Iterable[str] = ()) -> Words | None:
    """What to say about a key of an earlier version; None for any other key.

    Args:
        key: as it is written, without a leading "+" or "~".
        overrides: of the command line; from the one that sets the key or a key inside it, the remedy takes the value.
    """
    overrides = list(overrides)
    written = next((text for text in overrides if _is_inside(_key(text), key)), None)
    old = key if written is None else _key(written)
    if old == "stage":
        stage = (written or "").partition("=")[2]
        return "stage is called study now.", f"Write {STAGES.get(stage, 'study=NAME; cam-adv --help lists them')}."
    if old in STUDIES:
        return f"{old} is the study {STUDIES[old]} now.", f"Write study={STUDIES[old]}."
    new = _new_key(old)
    if new == old:
        return None
    study = STUDIES.get(old.rpartition("@")[2].split(".")[0])
    choice = f"study={study}" if study else ""
    what = f"{old} is called {new} now{choice and f', with {choice}'}."
    if written is None:
        return what, f"Write {new} instead of {old}{choice and f', and {choice}'}."
    chosen = [choice] if choice and choice not in overrides else []
    return what, f"Write {' '.join([*chosen, _rewritten(written)])}."


def renamed_choice(choice: str, overrides: Iterable[str] = ()) -> Words | None:
    """What to say about a config of an earlier version, such as "experiment/roc"; None for any other."""
    group, _, name = choice.rpartition("/")
    if group == "experiment" and name in EXPERIMENTS:
        return f"experiment={name} is a study now.", f"Write study={STUDIES[EXPERIMENTS[name]]}."
    if name not in VALUES.get(group, ()):
        return None
    what = f"{group}={name} is called {group}={VALUES[group][name]} now."
    overrides = list(overrides)
    for text in overrides:
        key = _key(text)
        if text.endswith(f"={name}") and key.split("@")[0] == group:
            # The place where the choice goes may have another name, too.
            words = renamed(key, overrides)
            return what, words[1] if words else f"Write {_rewritten(text)}."
    return what, f"Write {VALUES[group][name]} instead of {name}."


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _is_inside(key: str, outer: str) -> bool:
    """Whether a key, or the place where a group's choice goes, is `outer` or inside it."""
    return any(path == outer or path.startswith(f"{outer}.") for path in (key, key.rpartition("@")[2]))


def _rewritten(override: str) -> str:
    """An override with the present names."""
    left, equals, value = override.partition("=")
    old = left.lstrip("+~")
    new = _new_key(old)
    # A choice may be added to a group; a key that only has another name is there already.
    sign = left.removesuffix(old) if "@" in new or left.startswith("~") else ""
    if old.endswith(".method") and new.endswith("._target_") and equals:
        path = new.removesuffix("._target_")
        name = "type1" if value == "latent_walk" else value
        return f"attack={name}" if path == "attack" else f"attack@{path}={name}"
    group, _, path = new.rpartition("@")
    values = VALUES.get(group or path.rpartition(".")[2], {})
    value = re.sub("[a-z_]+", lambda word: values.get(word[0], word[0]), value)
    return f"{sign}{new}{equals}{f'[{value}]' if new in LISTS and equals else value}"


def _new_key(key: str) -> str:
    """A key, or a group with the place where its choice goes, with the present names."""
    group, at, path = key.rpartition("@")
    first, *others = KEYS.get(path, path).split(".")
    if first in STUDIES:
        first = "study"
    if first in ("attack", "study"):
        others = [PARTS.get(part, part) for part in others]
    path = ".".join([first, *others])
    for old, new in NESTED.items():
        path = re.sub(old, new, path)
    return f"{GROUPS.get(group, group)}{at}{KEYS.get(path, path)}"
