"""What one scene shows of each explanation, as columns of numbers: one row for each attacked image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cam_adv.attack.result import load_tensors, save_tensors
from cam_adv.explanation.subject import Subject
from cam_adv.networks.predictions import in_batches, unit
from cam_adv.reliability.concealment import SWAPS, TOLD, certainty, match, tell_apart
from cam_adv.reliability.faithfulness import advantages
from cam_adv.reliability.instability import change, other_measures
from cam_adv.reliability.maps import make_maps, mean_map, random_map
from cam_adv.reliability.scene import ATTACKED, Scene
from cam_adv.settings import ReliabilitySettings

Table = dict[str, Tensor]
"""Columns of one length by name. Every table has `victim` (its seed) and `image` (the source image)."""


CHANGE = "change "
"""Prefix of the columns that hold how far a map has moved since x."""


@dataclass(frozen=True)
class Observation:
    """Of one explanation.

    rows: one for each attacked image: `change <picture>` for the attack and each control (H1), also for two maps of
    no picture, `mean_map` and `random_map`; `change <network>` for the attack's pictures explained in a network that
    knows nothing; `<measure> <picture>` for the other measures of change; and `advantage x`, `advantage attack`,
    and `advantage mean_map`, where the mean map ranks the pixels of x (H2).
    pairs: one for each attacked image that has an honest match: what `tell_apart` says of it (H3).
    """

    rows: Table
    pairs: Table


def observe(
    scene: Scene,
    plan: ReliabilitySettings,
    strangers: Mapping[str, nn.Module],
    seed: int,
    device: torch.device,
) -> dict[str, Observation]:
    """Explain every picture of a scene by every explanation, and measure.

    Args:
        strangers: networks of the victim's architecture that know nothing of the images.
        seed: of random rankings and folds.
    """
    network = scene.subject.network.to(device)
    before: dict[str, Tensor] = {}
    after: dict[str, dict[str, Tensor]] = {}
    means: dict[str, Tensor] = {}
    rows: dict[str, Table] = {}
    for name, explanation in plan.explanations.items():

        def maps(images: Tensor, subject: Subject = scene.subject, explanation=explanation) -> Tensor:
            return make_maps(explanation, subject, images, scene.y, scene.target, device)

        before[name] = maps(scene.x)
        rows[name] = {"victim": torch.full_like(scene.index, scene.victim), "image": scene.index}
        after[name] = {picture: maps(images) for picture, images in scene.others.items()}
        means[name] = mean_map(before[name], scene.index)
        of_no_picture = {
            "mean_map": means[name],
            "random_map": random_map(before[name], torch.Generator().manual_seed(seed)),
        }
        for picture, seen in (after[name] | of_no_picture).items():
            rows[name][CHANGE + picture] = change(before[name], seen)
            rows[name] |= {f"{key} {picture}": value for key, value in other_measures(before[name], seen).items()}
        for stranger, other in strangers.items():
            subject = Subject.with_exact_cam(other.to(device), scene.x[:8].to(device))
            rows[name][CHANGE + stranger] = change(maps(scene.x, subject), maps(scene.others[ATTACKED], subject))
    ends = {name: of[ATTACKED] for name, of in after.items()}
    for end, images, of in (
        ("x", scene.x, before),
        ("attack", scene.others[ATTACKED], ends),
        ("mean_map", scene.x, means),
    ):
        draws = torch.Generator().manual_seed(seed)  # both ends are held against the same random rankings
        gained = advantages(network, images, of, scene.y, scene.target, plan.erasure_steps, plan.blur, draws, device)
        for name, value in gained.items():
            rows[name][f"advantage {end}"] = value
    pairs = _pairs(scene, plan, after, seed, device)
    return {name: Observation(rows[name], pairs[name]) for name in plan.explanations}


def save_observations(observations: Mapping[str, Observation], path: Path) -> None:
    """Keep what was observed of each explanation."""
    columns = [
        (f"{name}/{part}/{column}", values.clone())  # explanations share some, which the format refuses
        for name, observation in observations.items()
        for part, table in vars(observation).items()
        for column, values in table.items()
    ]
    # The format forgets the order of its tensors, which is that of the columns in measures.csv.
    save_tensors({f"{number:06d}/{key}": values for number, (key, values) in enumerate(columns)}, path)


def load_observations(path: Path) -> dict[str, Observation]:
    """What `save_observations` kept.

    Raises:
        FileNotFoundError: it kept nothing there.
    """
    found: dict[str, Observation] = {}
    for key, values in sorted(load_tensors(path).items(), key=lambda item: item[0]):
        _, name, part, column = key.split("/", 3)
        getattr(found.setdefault(name, Observation({}, {})), part)[column] = values
    return found


def concatenate(tables: Sequence[Table]) -> Table:
    """The rows of several tables, one after the other."""
    return {name: torch.cat([table[name] for table in tables]) for name in tables[0]} if tables else {}


def _pairs(
    scene: Scene,
    plan: ReliabilitySettings,
    after: Mapping[str, Mapping[str, Tensor]],
    seed: int,
    device: torch.device,
) -> dict[str, Table]:
    """Attacked and honest maps, matched in certainty, told apart where there are enough of them."""
    network, honest = scene.subject.network, scene.honest
    attacked_logits = in_batches(network, scene.others[ATTACKED], device)
    honest_logits = in_batches(network, honest.images, device)
    attacked, matched = match(
        certainty(attacked_logits, scene.y),
        scene.y,
        certainty(honest_logits, honest.labels),
        honest.labels,
        plan.caliper,
    )
    image, y, target = scene.index[attacked], scene.y[attacked], scene.target[attacked]
    tables: dict[str, Table] = {}
    for name, explanation in plan.explanations.items():
        table = {"victim": torch.full_like(image, scene.victim), "image": image}
        if len(image.unique()) >= plan.folds:
            # The honest image is explained as its partner was: the same class, held against the same target.
            genuine = make_maps(explanation, scene.subject, unit(honest.images[matched]), y, target, device)
            tables[name] = table | tell_apart(
                (certainty(attacked_logits[attacked], y), certainty(honest_logits[matched], y)),
                (after[name][ATTACKED][attacked], genuine),
                make_maps(explanation, scene.subject, scene.other_class[attacked], y, target, device),
                y,
                image,
                plan.folds,
                plan.false_alarms,
                seed,
            )
        else:
            nothing = dict.fromkeys(TOLD, torch.empty(0, dtype=torch.float64))
            nothing["chance"] = nothing["chance"].reshape(0, SWAPS)
            tables[name] = {column: values[:0] for column, values in table.items()} | nothing
    return tables
