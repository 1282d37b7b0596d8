"""Measurements of each attribution method on attack pairs: tables with one row for each attacked image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.data.pixels import to_unit_range
from cam_adv.models.predictions import batched_apply
from cam_adv.runtime.progress import track
from cam_adv.runtime.tensor_files import load_tensors, save_tensors
from cam_adv.schema.attribution import AttributionSettings
from cam_adv.studies.explanation_reliability.attack_pairs import ADVERSARIAL, AttackPairs
from cam_adv.studies.explanation_reliability.concealment import (
    N_PERMUTATIONS,
    PAIR_COLUMNS,
    confidence_features,
    detector_auc_contributions,
    match_pairs,
)
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig
from cam_adv.studies.explanation_reliability.faithfulness import advantages
from cam_adv.studies.explanation_reliability.instability import map_dissimilarity, other_measures
from cam_adv.studies.explanation_reliability.maps import make_maps, mean_map, random_map

Table = dict[str, Tensor]
"""Columns of equal length by name. Every table has `victim` (its seed) and `image` (the source image)."""

DISSIMILARITY = "map_dissimilarity "
"""Prefix of the columns that hold the dissimilarity of a map to that of x."""


@dataclass(frozen=True)
class Measurements:
    """Of one attribution method.

    rows: one for each attacked image: `map_dissimilarity <comparison>` for the attack and each control (H1), also for
    the reference maps `mean_map` and `random_map`; `map_dissimilarity <model>` for x and x' in each sanity-check
    model; `<measure> <comparison>` for the other measures of change; and `advantage x`, `advantage attack`, and
    `advantage mean_map`, where the mean map ranks the pixels of x (H2).
    pairs: one for each attacked image that has a clean match: columns of `detector_auc_contributions` (H3).
    """

    rows: Table
    pairs: Table


def measure_attributions(
    pairs: AttackPairs,
    config: ReliabilityConfig,
    sanity_check_models: Mapping[str, nn.Module],
    seed: int,
    device: torch.device,
) -> dict[str, Measurements]:
    """Make the maps of all images by every attribution method, and measure them.

    Args:
        sanity_check_models: networks of the victim's architecture that have not learnt from the images.
        seed: of random rankings and folds.
    """
    x, x_adv, attributions = pairs.x, pairs.comparisons[ADVERSARIAL], config.attributions

    def maps(
        attribution: AttributionSettings, images: Tensor, layer_target: LayerTarget = pairs.layer_target
    ) -> Tensor:
        return make_maps(attribution, layer_target, images, pairs.y, pairs.target, device)

    network = pairs.layer_target.network.to(device)
    sanity_check_targets = {
        name: LayerTarget.with_exact_cam(model.to(device), x[:8].to(device))
        for name, model in sanity_check_models.items()
    }
    x_maps, mean_maps, comparison_maps, rows = {}, {}, {}, {}
    for name, attribution in track(list(attributions.items()), "maps", "explanations"):
        x_maps[name] = maps(attribution, x)
        mean_maps[name] = mean_map(x_maps[name], pairs.index)
        comparison_maps[name] = {key: maps(attribution, images) for key, images in pairs.comparisons.items()}
        references = {
            "mean_map": mean_maps[name],
            "random_map": random_map(x_maps[name], torch.Generator().manual_seed(seed)),
        }
        table = {"victim": torch.full_like(pairs.index, pairs.victim_seed), "image": pairs.index}
        for key, compared in (comparison_maps[name] | references).items():
            table[DISSIMILARITY + key] = map_dissimilarity(x_maps[name], compared)
            table |= {f"{measure} {key}": value for measure, value in other_measures(x_maps[name], compared).items()}
        for key, layer_target in sanity_check_targets.items():
            before, after = (maps(attribution, images, layer_target) for images in (x, x_adv))
            table[DISSIMILARITY + key] = map_dissimilarity(before, after)
        rows[name] = table
    x_adv_maps = {name: compared[ADVERSARIAL] for name, compared in comparison_maps.items()}
    rankings = [("x", x, x_maps), ("attack", x_adv, x_adv_maps), ("mean_map", x, mean_maps)]
    for key, images, ranked in track(rankings, "deletion and insertion of pixels", "rankings"):
        generator = torch.Generator().manual_seed(seed)  # the same random rankings for each of the three
        found = advantages(
            network,
            images,
            ranked,
            pairs.y,
            pairs.target,
            config.deletion_insertion_steps,
            config.blur,
            generator,
            device,
        )
        for name, value in found.items():
            rows[name][f"advantage {key}"] = value
    matched_pairs = _measure_matched_pairs(pairs, config, x_adv_maps, seed, device)
    return {name: Measurements(rows[name], matched_pairs[name]) for name in attributions}


def save_measurements(measurements: Mapping[str, Measurements], path: Path) -> None:
    """Write the measurements of each attribution method as tensors."""
    columns = [
        (f"{name}/{part}/{column}", values.clone())  # methods share some tensors, which the format refuses
        for name, measured in measurements.items()
        for part, table in vars(measured).items()
        for column, values in table.items()
    ]
    # The format does not keep the order of its tensors, which is that of the rows in measures.csv.
    save_tensors({f"{number:06d}/{key}": values for number, (key, values) in enumerate(columns)}, path)


def load_measurements(path: Path) -> dict[str, Measurements]:
    """What `save_measurements` wrote.

    Raises:
        FileNotFoundError: there is no such file.
    """
    measurements: dict[str, Measurements] = {}
    for key, values in sorted(load_tensors(path).items(), key=lambda item: item[0]):
        _, name, part, column = key.split("/", 3)
        getattr(measurements.setdefault(name, Measurements({}, {})), part)[column] = values
    return measurements


def concatenate(tables: Sequence[Table]) -> Table:
    """The rows of several tables, one after the other."""
    return {name: torch.cat([table[name] for table in tables]) for name in tables[0]} if tables else {}


def _measure_matched_pairs(
    pairs: AttackPairs,
    config: ReliabilityConfig,
    x_adv_maps: Mapping[str, Tensor],
    seed: int,
    device: torch.device,
) -> dict[str, Table]:
    """Detectors on attacked and clean maps, matched in confidence; empty tables where there are too few images."""
    network, clean = pairs.layer_target.network, pairs.clean
    attacked_confidence = confidence_features(batched_apply(network, pairs.comparisons[ADVERSARIAL], device), pairs.y)
    clean_logits = batched_apply(network, clean.images, device)
    attacked_rows, clean_rows = match_pairs(
        attacked_confidence,
        pairs.y,
        confidence_features(clean_logits, clean.labels),
        clean.labels,
        config.caliper,
    )
    image, y, target = (column[attacked_rows] for column in (pairs.index, pairs.y, pairs.target))
    tables: dict[str, Table] = {}
    for name, attribution in track(list(config.attributions.items()), "detectors on maps", "explanations"):
        table = {"victim": torch.full_like(image, pairs.victim_seed), "image": image}
        if len(image.unique()) < config.folds:
            empty = dict.fromkeys(PAIR_COLUMNS, torch.empty(0, dtype=torch.float64))
            empty["null"] = empty["null"].reshape(0, N_PERMUTATIONS)
            tables[name] = {column: values[:0] for column, values in table.items()} | empty
            continue
        # The clean image gets the map of its partner's class, contrasted with the partner's target.
        clean_maps = make_maps(
            attribution, pairs.layer_target, to_unit_range(clean.images[clean_rows]), y, target, device
        )
        tables[name] = table | detector_auc_contributions(
            (attacked_confidence[attacked_rows], confidence_features(clean_logits[clean_rows], y)),
            (x_adv_maps[name][attacked_rows], clean_maps),
            make_maps(attribution, pairs.layer_target, pairs.other_class[attacked_rows], y, target, device),
            y,
            image,
            config.folds,
            config.target_fpr,
            seed,
        )
    return tables
