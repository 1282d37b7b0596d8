"""Measurements of each attribution method on attack pairs: tables with one row for each attacked image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.metrics.clusters import first_of_cluster
from cam_adv.models.predictions import batched_apply
from cam_adv.runtime.progress import track
from cam_adv.runtime.tensor_files import load_tensors, save_tensors
from cam_adv.schema.attribution import AttributionSettings
from cam_adv.studies.explanation_reliability.attack_pairs import ADVERSARIAL, AttackPairs, Unattacked
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
from cam_adv.studies.explanation_reliability.known_attributions import (
    CONSTANT,
    COPIED,
    EXPECTED,
    LADDER,
    LEFT_BEHIND,
    PLANTED,
    RANDOM_WEIGHTS,
    REVERSED,
    SCRAMBLED,
    constant,
    noisy,
    reversed_sign,
    scrambled,
)
from cam_adv.studies.explanation_reliability.maps import AttributionMaps, make_maps, mean_map, random_map
from cam_adv.studies.explanation_reliability.study_models import RANDOM_WEIGHTS as RANDOM_WEIGHTS_MODEL

Table = dict[str, Tensor]
"""Columns of equal length by name. Every table has `victim` (its seed), `image` (the source image) and `start`."""

DISSIMILARITY, ADVANTAGE, KEEPS = "map_dissimilarity ", "advantage ", "keeps "
"""Prefixes of columns: dissimilarity of a map to that of x, advantage over a random ranking of pixels, and whether
the victim calls an image y."""

MEAN_MAP, INK = "mean_map", "ink"
"""Rankings of the pixels of x that explain nothing: the mean map of all other images, and the image's intensity."""

CAM = AttributionSettings(name="cam", method={"_target_": "cam_adv.attributions.class_maps.cam", "_partial_": True})
"""What explanations with a known answer are made from."""


@dataclass(frozen=True)
class Measurements:
    """Of one attribution method; a table lacks the columns of a claim that it was not measured for.

    rows: one for each attacked image: `map_dissimilarity <comparison>` for the attack and each control (H1), also for
    the reference maps `mean_map` and `random_map`; `map_dissimilarity <model>` for x and x' in each sanity-check
    model; `<measure> <comparison>` for the other measures of change; `keeps <control>`; and `advantage x`, `advantage
    <comparison>` for the attack and each matched control, and `advantage mean_map` and `advantage ink`, where these
    rank the pixels of x (H2). NaN where a comparison is not usable.
    pairs: one for each attacked image that has a clean match: columns of `detector_auc_contributions` (H3).
    reconstructed_pairs: the same for matches among the reconstructions of clean images.
    """

    rows: Table
    pairs: Table
    reconstructed_pairs: Table


@dataclass(frozen=True)
class _Matches:
    """Attacked images and unattacked ones of the same class with similar confidence: positions among each, `(m,)`.

    confidence: `confidence_features` of the attacked and of the unattacked ones, `(m, 2)` each.
    """

    attacked: Tensor
    unattacked: Tensor
    confidence: tuple[Tensor, Tensor]


def measure_attributions(
    pairs: AttackPairs,
    config: ReliabilityConfig,
    attributions: Mapping[str, AttributionSettings],
    sanity_check_models: Mapping[str, nn.Module],
    complete: bool,
    known: bool,
    seed: int,
    device: torch.device,
) -> dict[str, Measurements]:
    """Make the maps of all images by every attribution method, and measure them.

    Args:
        sanity_check_models: networks of the victim's architecture that have not learnt from the images.
        complete: whether to measure H2 and the measures of change that no claim is decided on, the slowest.
        known: whether to measure explanations with a known answer, too.
        seed: of random rankings, noise and folds.

    Returns:
        By name: the attribution methods, then the explanations with a known answer.
    """
    pairs.layer_target.network.to(device)
    sanity_check_targets = {
        name: LayerTarget.with_exact_cam(model.to(device), pairs.x[:8].to(device))
        for name, model in sanity_check_models.items()
    }
    matched = _match(pairs, config.caliper, device)
    maps = {
        name: _make_maps(attribution, pairs, matched, device)
        for name, attribution in track(list(attributions.items()), "maps", "explanations")
    }
    matches = dict.fromkeys(maps, matched)
    if known:
        unattacked = replace(pairs, comparisons=pairs.comparisons | {ADVERSARIAL: pairs.x})
        matched_unattacked = _match(unattacked, config.caliper, device)
        cam = _make_maps(CAM, pairs, matched, device)
        maps |= {
            SCRAMBLED: scrambled(cam, pairs.index),
            CONSTANT: constant(cam),
            COPIED: _make_maps(CAM, unattacked, matched_unattacked, device),
            REVERSED: reversed_sign(cam),
        } | {name: noisy(cam, share, seed) for name, share in LADDER.items()}
        if RANDOM_WEIGHTS_MODEL in sanity_check_targets:
            random = replace(pairs, layer_target=sanity_check_targets[RANDOM_WEIGHTS_MODEL])
            maps[RANDOM_WEIGHTS] = _make_maps(CAM, random, matched, device)
        matches |= dict.fromkeys(maps.keys() - matches.keys(), matched) | {COPIED: matched_unattacked}
    measured = _measure(pairs, maps, matches, config, complete, seed, device)
    for name, attribution in attributions.items():
        for model, layer_target in sanity_check_targets.items():
            before, after = (
                make_maps(attribution, layer_target, images, pairs.y, pairs.target, device)
                for images in (pairs.x, pairs.comparisons[ADVERSARIAL])
            )
            measured[name].rows[DISSIMILARITY + model] = map_dissimilarity(before, after)
        if complete:
            measured[name].rows.update(_other_changes(pairs, maps[name]))
    return measured


def measure_planted_cue(
    pairs: AttackPairs, config: ReliabilityConfig, seed: int, device: torch.device
) -> dict[str, Measurements]:
    """The CAM of a victim whose cue is known, and a map that stays where the cue was; see `planted_cue`."""
    pairs.layer_target.network.to(device)
    matched = _match(pairs, config.caliper, device)
    cam = _make_maps(CAM, pairs, matched, device)
    left_behind = replace(cam, comparisons=cam.comparisons | {ADVERSARIAL: cam.x})
    maps = {PLANTED: cam, LEFT_BEHIND: left_behind}
    return _measure(pairs, maps, dict.fromkeys(maps, matched), config, True, seed, device)


def _measure(
    pairs: AttackPairs,
    maps: Mapping[str, AttributionMaps],
    matches: Mapping[str, tuple[_Matches, _Matches]],
    config: ReliabilityConfig,
    faithfulness: bool,
    seed: int,
    device: torch.device,
) -> dict[str, Measurements]:
    """The measures of every claim, of known answers those alone that their construction decides."""

    def asked(claim: str) -> dict[str, AttributionMaps]:
        """The maps of what this claim is about."""
        left_out = {name for name, verdicts in EXPECTED.items() if claim not in verdicts}
        left_out |= set() if claim == "instability" else set(LADDER)
        return {name: made for name, made in maps.items() if name not in left_out}

    key = {"victim": torch.full_like(pairs.index, pairs.victim_seed), "image": pairs.index, "start": pairs.start}
    rows: dict[str, Table] = {name: dict(key) for name in maps}
    tables: dict[str, tuple[Table, Table]] = {name: ({}, {}) for name in maps}
    for name, made in asked("instability").items():
        rows[name] |= _changes(pairs, made, seed)
    if faithfulness:
        for name, columns in _faithfulness(pairs, asked("unfaithfulness"), config, seed, device).items():
            rows[name] |= columns
    for name, made in track(list(asked("concealment").items()), "detectors on maps", "explanations"):
        clean, reconstructed = matches[name]
        tables[name] = (
            _separate(pairs, made, made.clean, made.other_class, clean, config, seed),
            _separate(pairs, made, made.reconstructed, None, reconstructed, config, seed),
        )
    return {name: Measurements(rows[name], *tables[name]) for name in maps}


def save_measurements(measurements: Mapping[str, Measurements], path: Path) -> None:
    """Write the measurements of each attribution method as tensors; of a column of equal rows the first alone."""
    columns = [
        # Methods share some tensors, which the format refuses.
        (f"{name}/{part}/{column}", (values[:1] if values.stride(0) == 0 else values).clone())
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
        table = getattr(measurements.setdefault(name, Measurements({}, {}, {})), part)
        rows = len(next(iter(table.values()), values))
        table[column] = values.expand(rows, *values.shape[1:]) if len(values) < rows else values
    return measurements


def concatenate(tables: Sequence[Table]) -> Table:
    """The rows of several tables, one after the other."""
    return {name: torch.cat([table[name] for table in tables]) for name in tables[0]} if tables else {}


def _match(pairs: AttackPairs, caliper: float, device: torch.device) -> tuple[_Matches, _Matches]:
    """Clean images for the adversarial ones, and reconstructions for them; none where there are too few."""
    network = pairs.layer_target.network
    attacked = confidence_features(batched_apply(network, pairs.comparisons[ADVERSARIAL], device), pairs.y)

    def match(others: Unattacked) -> _Matches:
        of_others = confidence_features(batched_apply(network, others.images, device), others.labels)
        rows, columns = match_pairs(attacked, pairs.y, of_others, others.labels, caliper)
        return _Matches(rows, columns, (attacked[rows], of_others[columns]))

    return match(pairs.clean), match(pairs.reconstructed)


def _make_maps(
    attribution: AttributionSettings, pairs: AttackPairs, matched: tuple[_Matches, _Matches], device: torch.device
) -> AttributionMaps:
    """The unattacked image of a pair gets the map of its partner's class, contrasted with the partner's target."""
    clean, reconstructed = matched

    def make(images: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        return make_maps(attribution, pairs.layer_target, images, pairs.y[rows], pairs.target[rows], device)

    x = make(pairs.x)

    def of_matches(images: Tensor, of: _Matches) -> Tensor:
        return make(images, of.attacked) if len(of.attacked) else x[:0]

    return AttributionMaps(
        x,
        {name: make(images) for name, images in pairs.comparisons.items()},
        of_matches(pairs.clean.images[clean.unattacked], clean),
        of_matches(pairs.other_class[clean.attacked], clean),
        of_matches(pairs.reconstructed.images[reconstructed.unattacked], reconstructed),
    )


def _changes(pairs: AttackPairs, maps: AttributionMaps, seed: int) -> Table:
    """Columns of H1."""
    table: Table = {KEEPS + name: keeps.double() for name, keeps in pairs.keeps.items() if name != ADVERSARIAL}
    references = {
        MEAN_MAP: mean_map(maps.x, pairs.index),
        "random_map": random_map(maps.x, torch.Generator().manual_seed(seed)),
    }
    every = torch.ones(len(pairs), dtype=torch.bool)
    for name, compared in (maps.comparisons | references).items():
        values = map_dissimilarity(maps.x, compared)
        table[DISSIMILARITY + name] = torch.where(pairs.usable.get(name, every), values, torch.nan)
    return table


def _other_changes(pairs: AttackPairs, maps: AttributionMaps) -> Table:
    """Columns of the measures of change that no claim is decided on."""
    return {
        f"{measure} {name}": torch.where(pairs.usable[name], values, torch.nan)
        for name, compared in maps.comparisons.items()
        for measure, values in other_measures(maps.x, compared).items()
    }


def _faithfulness(
    pairs: AttackPairs,
    maps: Mapping[str, AttributionMaps],
    config: ReliabilityConfig,
    seed: int,
    device: torch.device,
) -> dict[str, Table]:
    """Columns of H2 by attribution method."""
    x = {name: made.x for name, made in maps.items()} | {INK: pairs.x.mean(dim=1)}
    mean_maps = {name: mean_map(made.x, pairs.index) for name, made in maps.items()}
    all_rows = torch.ones(len(pairs), dtype=torch.bool)
    compared = {
        key: (pairs.comparisons[key], {name: made.comparisons[key] for name, made in maps.items()}, pairs.usable[key])
        for key in (ADVERSARIAL, *config.matched)
    }
    rankings = {"x": (pairs.x, x, all_rows), MEAN_MAP: (pairs.x, mean_maps, all_rows), **compared}
    tables: dict[str, Table] = {name: {} for name in maps}
    for key, (images, ranked, rows) in track(list(rankings.items()), "deletion and insertion of pixels", "rankings"):
        if not rows.any():
            found = {name: images.new_empty(0) for name in ranked}
        else:
            found = advantages(
                pairs.layer_target.network,
                images[rows],
                {name: made[rows] for name, made in ranked.items()},
                pairs.y[rows],
                pairs.target[rows],
                config.deletion_insertion_steps,
                config.blur,
                torch.Generator().manual_seed(seed),  # the same random rankings where the rows are the same
                device,
            )
        for name, table in tables.items():
            table[ADVANTAGE + key] = _spread(found[name], rows)
            if key == "x":
                table[ADVANTAGE + INK] = found[INK].clone()
    return tables


def _spread(values: Tensor, rows: Tensor) -> Tensor:
    """The values at these rows `(n,)`, NaN elsewhere."""
    return torch.full(rows.shape, torch.nan, dtype=values.dtype).masked_scatter(rows, values)


def _separate(
    pairs: AttackPairs,
    maps: AttributionMaps,
    unattacked: Tensor,
    other_class: Tensor | None,
    matched: _Matches,
    config: ReliabilityConfig,
    seed: int,
) -> Table:
    """Columns of H3: detectors on attacked and unattacked maps `(m, h, w)`; empty where there are too few images."""
    rows = matched.attacked
    image = pairs.index[rows]
    table = {"victim": torch.full_like(image, pairs.victim_seed), "image": image, "start": pairs.start[rows]}
    group = first_of_cluster(image, table["start"])
    if len(group.unique()) < config.folds:
        columns = PAIR_COLUMNS if other_class is None else (*PAIR_COLUMNS, "other_class")
        empty = dict.fromkeys(columns, torch.empty(0, dtype=torch.float64))
        empty["null"] = empty["null"].reshape(0, N_PERMUTATIONS)
        return {column: values[:0] for column, values in table.items()} | empty
    return table | detector_auc_contributions(
        matched.confidence,
        (maps.comparisons[ADVERSARIAL][rows], unattacked),
        other_class,
        pairs.y[rows],
        group,
        config.folds,
        config.target_fpr,
        seed,
    )
