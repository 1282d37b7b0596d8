"""What TensorBoard shows of a run, read back from its files and, for HParams, through TensorBoard's own code."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import compose, read_hparams
from google.protobuf import text_format
from hand_made_evaluation import LATENT_SIZE, NAMES, attack_evaluation
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import Tensor, nn

from cam_adv.attacks.base import Attack
from cam_adv.config.compose import settings_from
from cam_adv.config.settings import Settings
from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.judge import Judge
from cam_adv.reports.events import write_events, write_figure_events
from cam_adv.reports.hparams import Value, hyperparameters, metrics
from cam_adv.reports.projector import THUMBNAIL

STEPS = 4
SUMMARY = {
    "images": 200,
    "seconds": 40.0,
    "median_distance": 3.25,
    "attempted": {"rate": 1.0, "low": 0.98, "high": 1.0},
    "victim_keeps": {"rate": 0.9, "low": 0.8, "high": 0.95},
    "plausible": {"rate": 0.7, "low": 0.6, "high": 0.8},
    "judge_reads_target": {"rate": 0.5, "low": 0.4, "high": 0.6},
    "success": {"rate": 0.4, "low": 0.3, "high": 0.5},
    "judge_reads_source": {"rate": 0.125, "low": 0.1, "high": 0.2},
    "judge_reads_nothing": {"rate": 0.3, "low": 0.2, "high": 0.4},
}


def svae(channels: int = 1, size: tuple[int, int] = (8, 12), seed: int = 0) -> SVAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SVAE(channels, 3, size, LATENT_SIZE, width=2, hidden=8).eval()


def attack() -> Attack:
    """An attack with `STEPS` steps from each start."""
    return settings_from(compose([f"attack.steps={STEPS}"])).attack


def write(
    folder: Path,
    evaluation: AttackEvaluation | None = None,
    generator: SVAE | None = None,
    hparams: Mapping[str, Value] | None = None,
    summary: Mapping[str, Any] | None = None,
) -> EventAccumulator:
    """Write the events of a run, and read them back."""
    evaluation, generator = evaluation or attack_evaluation(), generator or svae()
    folder.mkdir(parents=True, exist_ok=True)
    evaluator = Evaluator(nn.Identity(), None, Judge({}, 0.1, 1, 1), generator, torch.device("cpu"))
    write_events(evaluation, evaluator, attack(), NAMES, hparams or {}, summary or SUMMARY, folder)
    return read(folder)


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def curve(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]


def image_of(events: EventAccumulator, tag: str) -> np.ndarray:
    """The one image of a tag, `(H, W, 3)`, in [0, 255]."""
    (event,) = events.Images(tag)
    pixels = np.asarray(Image.open(BytesIO(event.encoded_image_string)).convert("RGB"), dtype=float)
    assert pixels.shape[:2] == (event.height, event.width)
    return pixels


def to_pixels(images: Tensor) -> np.ndarray:
    """One image `(C, H, W)` in [0, 1] as `(H, W, 3)` in [0, 255]."""
    return 255 * images.expand(3, -1, -1).permute(1, 2, 0).numpy()


def grid_shows(grid: np.ndarray, images: Tensor, height: int, width: int, columns: int) -> bool:
    """Whether a grid has these images row by row, up to one grey level."""
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        part = grid[row * height : (row + 1) * height, column * width : (column + 1) * width]
        if np.abs(part - to_pixels(image)).max() > 1:
            return False
    return True


class TestCurves:
    def test_terms_are_medians_over_images(self, tmp_path: Path) -> None:
        events = write(tmp_path)
        # The medians of the rows 0…14 by threes are 6, 7 and 8 at steps 0, 2 and 4; the term is their square.
        assert curve(events, "attack/term_J1_victim") == [(0, 36), (2, 49), (4, 64)]
        assert curve(events, "attack/term_k") == [(0, 0.5), (2, 0.5), (4, 0.5)]

    def test_so_far_are_shares_of_images_with_the_answer_yes(self, tmp_path: Path) -> None:
        """Two starts of four steps; x' was found at steps 2, 4, 0, 7 and 8."""
        events = write(tmp_path)
        assert curve(events, "attack/so_far_victim_keeps") == [(0, 0.2), (4, 0.4), (8, 0.6)]
        assert curve(events, "attack/so_far_judge_reads_target") == [(0, 0), (4, 0.4), (8, 0.6)]
        assert curve(events, "attack/so_far_judge_reads_nothing") == [(0, 0), (4, 0), (8, 0.2)]
        assert curve(events, "attack/so_far_plausible") == [(0, 0.2), (4, 0.6), (8, 0.8)]
        assert curve(events, "attack/so_far_success") == [(0, 0), (4, 0.2), (8, 0.4)]


class TestImages:
    def test_grids_show_x_reconstruction_and_x_adv_of_the_same_rows(self, tmp_path: Path) -> None:
        evaluation, generator = attack_evaluation(), svae()
        events, result = write(tmp_path, evaluation, generator), evaluation.result
        with torch.no_grad():
            reconstructions = generator.decode(result.z0)
        for name, images in (("x", result.x), ("reconstruction", reconstructions), ("x_adv", result.x_adv)):
            grid = image_of(events, f"views/{name}")
            assert grid.shape == (8, 5 * 12, 3)
            assert grid_shows(grid, images, 8, 12, columns=8)
        assert not grid_shows(image_of(events, "views/x_adv"), result.x, 8, 12, columns=8)

    def test_prior_samples_of_two_generators_have_the_same_codes(self, tmp_path: Path) -> None:
        state = torch.get_rng_state()
        grids = [
            image_of(write(tmp_path / str(seed), generator=svae(seed=seed)), "views/prior_samples") for seed in (0, 1)
        ]
        assert torch.equal(torch.get_rng_state(), state)
        codes = torch.randn(64, LATENT_SIZE, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert grid_shows(grids[0], svae(seed=0).decode(codes), 8, 12, columns=8)
            assert grid_shows(grids[1], svae(seed=1).decode(codes), 8, 12, columns=8)
        assert np.abs(grids[0] - grids[1]).max() > 1

    def test_figures_of_the_run_are_written_without_those_of_trainings(self, tmp_path: Path) -> None:
        figures = tmp_path / "figures"
        figures.mkdir()
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        for name in ("dots_to_häuser", "pairs", "trainings"):
            Image.fromarray(pixels).save(figures / f"{name}.png")
        write(tmp_path)
        write_figure_events(tmp_path)
        write_figure_events(tmp_path)  # drawn again: these replace the others
        events = read(tmp_path)
        tags = {tag for tag in events.Tags()["images"] if tag.startswith("figures/")}
        assert tags == {"figures/dots_to_häuser", "figures/pairs"}
        for tag in tags:
            assert np.array_equal(image_of(events, tag), pixels[..., :3])


class TestProjector:
    def test_each_code_has_a_row_of_labels_and_a_thumbnail(self, tmp_path: Path) -> None:
        evaluation = attack_evaluation()
        result = evaluation.result
        write(tmp_path, evaluation)
        config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
        (embedding,) = config.embeddings
        labels = [row.split("\t") for row in (tmp_path / embedding.metadata_path).read_text().splitlines()]
        dots, houses, stripes = NAMES
        assert labels == [
            ["picture", "class", "target", "judge", "success"],
            ["x", dots, houses, dots, "yes"],
            ["x", dots, stripes, dots, "no"],
            ["x", houses, stripes, houses, "no"],
            ["x", houses, dots, houses, "yes"],
            ["x", stripes, dots, stripes, "no"],
            ["x'", dots, houses, houses, "yes"],
            ["x'", dots, stripes, stripes, "no"],
            ["x'", houses, stripes, houses, "no"],
            ["x'", houses, dots, dots, "yes"],
            ["x'", stripes, dots, "nothing", "no"],
        ]
        codes = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
        assert codes == pytest.approx(torch.cat([result.z0, result.z]).numpy(), abs=5e-4)
        assert list(embedding.sprite.single_image_dim) == [12, 8]
        sprite = np.asarray(Image.open(tmp_path / embedding.sprite.image_path).convert("RGB"), dtype=float)
        assert grid_shows(sprite, torch.cat([result.x, result.x_adv]), 8, 12, columns=4)

    def test_large_colour_images_are_averaged_to_thumbnails(self, tmp_path: Path) -> None:
        """64×96 pixels become 32×32, each the mean of 2×3."""
        evaluation = attack_evaluation(3, (64, 96))
        write(tmp_path, evaluation, svae(3, (64, 96)))
        sprite = np.asarray(Image.open(tmp_path / "projector" / "thumbnails.png"), dtype=float)
        assert sprite.shape == (3 * THUMBNAIL, 4 * THUMBNAIL, 3)
        images = torch.cat([evaluation.result.x, evaluation.result.x_adv])
        thumbnails = images.reshape(10, 3, 32, 2, 32, 3).mean(dim=(3, 5))
        assert grid_shows(sprite, thumbnails, 32, 32, columns=4)

    def test_many_images_are_sampled_evenly(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cam_adv.reports.projector.IMAGES", 3)
        write(tmp_path)
        rows = (tmp_path / "projector" / "labels.tsv").read_text().splitlines()[1:]
        assert [row.split("\t")[1] for row in rows] == [NAMES[0], NAMES[1], NAMES[2]] * 2  # rows 0, 2 and 4
        assert len((tmp_path / "projector" / "codes.tsv").read_text().splitlines()) == 6


class TestHParams:
    def test_runs_with_different_keys_share_one_table(self, tmp_path: Path) -> None:
        """A key that only one run has is a column for all, and the first five metrics are shown by default."""
        better = {**SUMMARY, "success": {"rate": 0.8, "low": 0.7, "high": 0.9}, "seconds": 10.0}
        write(tmp_path / "attack" / "2026-01-31", hparams={"attack": "type1", "attack.strength": None})
        hparams = {"attack": "type1", "attack.strength": 2.5, "attack.keep_best": False}
        write(tmp_path / "multirun" / "0_attack.strength=2.5", hparams=hparams, summary=better)
        keys, tags, runs = read_hparams(tmp_path)
        assert set(keys) == {"attack", "attack.strength", "attack.keep_best"}
        default = ["1_success", "2_judge_as_asked", "3_plausible", "4_victim_as_asked", "5_seconds"]
        assert tags[:7] == [
            f"attack-result/{name}" for name in (*default, "6_median_distance", "7_successes_per_second")
        ]
        assert set(runs) == {
            f"2026-01-31 of {tmp_path / 'attack'}",
            f"0_attack.strength=2.5 of {tmp_path / 'multirun'}",
        }
        second, first = runs.values()
        assert (first.hparams, second.hparams) == ({"attack": "type1"}, hparams)
        assert first.metrics_of("attack-result/") == pytest.approx(
            {
                "1_success": 0.4,
                "2_judge_as_asked": 0.5,
                "3_plausible": 0.7,
                "4_victim_as_asked": 0.9,
                "5_seconds": 40,
                "6_median_distance": 3.25,
                "7_successes_per_second": 2,
            }
        )
        assert second.metrics_of("attack-result/")["7_successes_per_second"] == pytest.approx(16)

    def test_charts_show_curves_before_single_values(self, tmp_path: Path) -> None:
        """The tabs of charts sort slashes before all other characters."""
        tags = write(tmp_path).Tags()["scalars"]
        first, *others = sorted(tags, key=lambda tag: tag.replace("/", " "))
        assert first == "attack/so_far_judge_reads_nothing"
        assert [tag.split("/")[0] for tag in others[-7:]] == ["attack-result"] * 7

    def test_metrics_of_type2_are_what_it_asks_for(self) -> None:
        found = metrics(SUMMARY | {"kind": "type2"})
        assert found["victim_as_asked"] == pytest.approx(0.1)
        assert found["judge_as_asked"] == 0.125

    def test_zero_seconds_give_no_successes_per_second(self, tmp_path: Path) -> None:
        write(tmp_path / "run", hparams={"attack": "type1"}, summary={**SUMMARY, "seconds": 0.0})
        (run,) = read_hparams(tmp_path)[2].values()
        assert len(run.metrics_of("attack-result/")) == 6

    def test_hyperparameters_are_those_of_every_run_and_the_overrides(self, settings: Settings) -> None:
        always = hyperparameters(settings, settings.attack, {})
        assert always == {
            "dataset": "image_folder",
            "model/victim": "gap_cnn",
            "attack": "type1",
            "attack.strength": None,
            "attack.confidence": 0.4,
            "seed": 0,
        }
        overrides = {"attack": "mine", "attack.steps": 6}
        assert hyperparameters(settings, settings.attack, overrides | {"debug": True}) == always | overrides


def test_second_write_replaces_everything_of_the_first(tmp_path: Path) -> None:
    """As in a run that was killed before its end and is resumed."""
    first = write(tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if "tfevents" not in path.name)
    second = write(tmp_path, summary={**SUMMARY, "seconds": 41.0})
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert [path for path in files if not (tmp_path / path).exists()] == []
    assert second.Tags()["scalars"] == first.Tags()["scalars"]
    for tag in second.Tags()["scalars"]:
        assert len(second.Scalars(tag)) == len(first.Scalars(tag)), tag
    assert [event.value for event in second.Scalars("attack-result/5_seconds")] == [41]
    assert all(len(second.Images(tag)) == 1 for tag in second.Tags()["images"])
