"""What TensorBoard shows of a run, read back from its files and, for HParams, through TensorBoard's own code."""

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import compared
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import Tensor, nn

from cam_adv.attack.result import AttackResult
from cam_adv.evaluation.assessment import Assessment
from cam_adv.evaluation.distances import Distances
from cam_adv.evaluation.opinions import Opinions, Witnesses
from cam_adv.evaluation.verdict import type1_verdict
from cam_adv.networks.ensemble import Ensemble
from cam_adv.networks.svae import SVAE
from cam_adv.overrides import Value, swept_keys, values_of
from cam_adv.report.events import write_events
from cam_adv.report.hparams import hyperparameters
from cam_adv.report.projector import THUMBNAIL
from cam_adv.settings import Settings
from cam_adv.sweep.jobs import swept_overrides
from cam_adv.training.pictures import tiles, write_generator_pictures

NAMES = ("dots", "häuser", "wide stripes")
COUNT, LATENT, STEPS = 5, 3, 4
SUMMARY = {
    "images": 200,
    "seconds": 40.0,
    "median_distance": 3.25,
    "success": {"rate": 0.4, "low": 0.3, "high": 0.5},
    "kept": {"rate": 0.9, "low": 0.8, "high": 0.95},
    "changed": {"rate": 0.5, "low": 0.4, "high": 0.6},
    "success_confident": {"rate": 0.2, "low": 0.1, "high": 0.3},
}


def generator(channels: int = 1, size: tuple[int, int] = (8, 12), seed: int = 0) -> SVAE:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SVAE(channels, 3, size, LATENT, width=2, hidden=8).eval()


def opinions(labels: list[int]) -> Opinions:
    """Everybody is sure of these labels."""
    sure = torch.eye(3)[labels]
    return Opinions(sure, sure, sure.unsqueeze(1), sure, None, ("plain",))


def assessment(channels: int = 1, size: tuple[int, int] = (8, 12)) -> Assessment:
    """Five images: 0 and 3 succeed, 1 isn't kept, 2 isn't changed, 4 is neither."""
    draw = torch.Generator().manual_seed(0)
    x, x_adv = torch.rand(2, COUNT, channels, *size, generator=draw)
    z0, z = torch.randn(2, COUNT, LATENT, generator=draw)
    y, target = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([1, 2, 2, 0, 0])
    victim, judge = opinions([0, 2, 1, 1, 0]), opinions([1, 2, 1, 0, 2])
    terms = {"J1 victim": torch.arange(15.0).reshape(5, 3) ** 2, "k": torch.full((5, 3), 0.5)}
    start, steps = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([2, 4, 0, 7, 8])
    path = torch.zeros(COUNT, 3, LATENT)
    result = AttackResult(x, x_adv, z0, z, y, target, start, steps, steps < 0, path, terms)
    return Assessment(
        "type1",
        result,
        on_x=opinions(y.tolist()),
        on_reconstruction=opinions(y.tolist()),
        on_x_adv=replace(victim, judge=judge.judge),
        verdict=type1_verdict(victim.victim, judge.judge, y, target, 0.9),
        distances=Distances(*torch.zeros(5, COUNT)),
    )


def write(
    folder: Path,
    made: Assessment | None = None,
    painter: SVAE | None = None,
    asked: Mapping[str, Value] | None = None,
    summary: Mapping | None = None,
) -> EventAccumulator:
    """The events of a run, read back."""
    made, painter = made or assessment(), painter or generator()
    folder.mkdir(parents=True, exist_ok=True)
    witnesses = Witnesses(nn.Identity(), None, Ensemble({}), painter, torch.device("cpu"))
    write_events(made, witnesses, STEPS, NAMES, asked or {}, summary or SUMMARY, folder)
    return read(folder)


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def curve(events: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]


def picture(events: EventAccumulator, tag: str) -> np.ndarray:
    """The one image of a tag, `(H, W, 3)`, in [0, 255]."""
    (event,) = events.Images(tag)
    pixels = np.asarray(Image.open(BytesIO(event.encoded_image_string)).convert("RGB"), dtype=float)
    assert pixels.shape[:2] == (event.height, event.width)
    return pixels


def as_pixels(images: Tensor) -> np.ndarray:
    """One image `(C, H, W)` in [0, 1] as `(H, W, 3)` in [0, 255]."""
    return 255 * images.expand(3, -1, -1).permute(1, 2, 0).numpy()


def shown(images: Tensor, sheet: np.ndarray, height: int, width: int, across: int) -> bool:
    """Whether a sheet of so many images a row shows these, one after the other, to a grey level."""
    for number, image in enumerate(images):
        row, column = divmod(number, across)
        part = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        if np.abs(part - as_pixels(image)).max() > 1:
            return False
    return True


class TestCurves:
    def test_of_terms_are_medians_over_the_images(self, tmp_path: Path) -> None:
        events = write(tmp_path)
        # The middle of five rows 0…14 by threes is 6, 7, 8, whose squares are the median at steps 0, 2 and 4.
        assert curve(events, "objective/J1_victim") == [(0, 36), (2, 49), (4, 64)]
        assert curve(events, "objective/k") == [(0, 0.5), (2, 0.5), (4, 0.5)]

    def test_say_what_was_done_so_far(self, tmp_path: Path) -> None:
        """Two starts of four steps. Ends were met at steps 2, 4, 0, 7, 8; 0, 2 and 3 are kept, 0, 1 and 3 changed."""
        events = write(tmp_path)
        assert curve(events, "so_far/kept") == [(0, 0.2), (4, 0.4), (8, 0.6)]
        assert curve(events, "so_far/changed") == [(0, 0), (4, 0.4), (8, 0.6)]
        assert curve(events, "so_far/success") == [(0, 0), (4, 0.2), (8, 0.4)]


class TestPictures:
    def test_show_the_same_images_before_and_after(self, tmp_path: Path) -> None:
        made, painter = assessment(), generator()
        events = write(tmp_path, made, painter)
        with torch.no_grad():
            reconstructions = painter.generate(made.result.z0)
        for name, images in (("x", made.result.x), ("reconstruction", reconstructions), ("x_adv", made.result.x_adv)):
            sheet = picture(events, f"pictures/{name}")
            assert sheet.shape == (8, 8 * 12, 3)  # one row of eight places, three of them empty
            assert shown(images, sheet, 8, 12, across=8)
            assert sheet[:, 5 * 12 :].max() == 0
        assert not shown(made.result.x, picture(events, "pictures/x_adv"), 8, 12, across=8)

    def test_show_what_the_generator_paints_from_the_same_draws(self, tmp_path: Path) -> None:
        state = torch.get_rng_state()
        sheets = [
            picture(write(tmp_path / str(s), painter=generator(seed=s)), "pictures/prior_samples") for s in (0, 1)
        ]
        assert torch.equal(torch.get_rng_state(), state)
        codes = torch.randn(64, LATENT, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert shown(generator(seed=0).generate(codes), sheets[0], 8, 12, across=8)
            assert shown(generator(seed=1).generate(codes), sheets[1], 8, 12, across=8)
        assert np.abs(sheets[0] - sheets[1]).max() > 1

    def test_are_the_figures_of_the_run(self, tmp_path: Path) -> None:
        figures = tmp_path / "figures"
        figures.mkdir()
        drawn = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
        drawn[..., 3] = 255
        for name in ("dots_to_häuser", "pairs", "trainings"):
            Image.fromarray(drawn).save(figures / f"{name}.png")
        events = write(tmp_path)
        there = {tag for tag in events.Tags()["images"] if tag.startswith("figures/")}
        assert there == {"figures/dots_to_häuser", "figures/pairs"}  # trainings have runs of their own
        for tag in there:
            assert np.array_equal(picture(events, tag), drawn[..., :3])

    def test_fill_a_grid_row_by_row(self) -> None:
        images = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 2, 1, 2)
        assert tiles(images, across=2).tolist() == [[[0, 0, 1, 1], [2, 2, 0, 0]]] * 2


class TestProjector:
    def test_has_a_row_of_labels_for_each_code(self, tmp_path: Path) -> None:
        made = assessment()
        write(tmp_path, made)
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
            ["x'", stripes, dots, stripes, "no"],
        ]
        codes = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
        assert codes == pytest.approx(torch.cat([made.result.z0, made.result.z]).numpy(), abs=5e-4)
        assert list(embedding.sprite.single_image_dim) == [12, 8]
        sheet = np.asarray(Image.open(tmp_path / embedding.sprite.image_path).convert("RGB"), dtype=float)
        assert shown(torch.cat([made.result.x, made.result.x_adv]), sheet, 8, 12, across=4)

    def test_shows_large_images_small(self, tmp_path: Path) -> None:
        """In colour too: 64×96 pixels become 32×32, each the mean of 2×3."""
        made = assessment(3, (64, 96))
        write(tmp_path, made, generator(3, (64, 96)))
        sheet = np.asarray(Image.open(tmp_path / "projector" / "thumbnails.png"), dtype=float)
        assert sheet.shape == (3 * THUMBNAIL, 4 * THUMBNAIL, 3)
        small = torch.cat([made.result.x, made.result.x_adv]).reshape(10, 3, 32, 2, 32, 3).mean(dim=(3, 5))
        assert shown(small, sheet, 32, 32, across=4)

    def test_takes_images_from_all_over_a_long_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cam_adv.report.projector.IMAGES", 3)
        write(tmp_path)
        rows = (tmp_path / "projector" / "labels.tsv").read_text().splitlines()[1:]
        assert [row.split("\t")[1] for row in rows] == [NAMES[0], NAMES[1], NAMES[2]] * 2  # rows 0, 2 and 4
        assert len((tmp_path / "projector" / "codes.tsv").read_text().splitlines()) == 6


class TestHParams:
    def test_compare_runs_that_were_asked_different_things(self, tmp_path: Path) -> None:
        """A key that only one run has is a column for all, and five metrics are shown unasked."""
        better = {**SUMMARY, "success": {"rate": 0.8, "low": 0.7, "high": 0.9}, "seconds": 10.0}
        write(tmp_path / "main" / "2026-01-31", asked={"attack": "type1", "attack.strength": None})
        asked = {"attack": "type1", "attack.strength": 2.5, "attack.keep_best": False}
        write(tmp_path / "multirun" / "0_attack.strength=2.5", asked=asked, summary=better)
        keys, metrics, runs = compared(tmp_path)
        assert set(keys) == {"attack", "attack.strength", "attack.keep_best"}
        unasked = ["changed", "kept", "median_distance", "seconds", "success"]
        assert metrics[:7] == [f"attack/{name}" for name in (*unasked, "success_confident", "successes_per_second")]
        assert set(runs) == {"main/2026-01-31", "multirun/0_attack.strength=2.5"}
        first, second = runs.values()
        assert (first.asked, second.asked) == ({"attack": "type1"}, asked)
        assert first.came_out("attack/") == pytest.approx(
            {
                "success": 0.4,
                "kept": 0.9,
                "changed": 0.5,
                "success_confident": 0.2,
                "seconds": 40,
                "median_distance": 3.25,
                "successes_per_second": 2,
            }
        )
        assert second.came_out("attack/")["successes_per_second"] == pytest.approx(16)

    def test_take_no_speed_from_no_time(self, tmp_path: Path) -> None:
        write(tmp_path / "run", summary={**SUMMARY, "seconds": 0.0})
        ((run,),) = [compared(tmp_path)[2].values()]
        assert "successes_per_second" not in run.came_out("attack/")

    def test_know_what_a_run_without_overrides_was_asked(self, settings: Settings) -> None:
        assert hyperparameters(settings, {}) == {
            "dataset": "image_folder",
            "model/victim": "gap_cnn",
            "attack": "type1",
            "attack.strength": None,
            "attack.confidence": 0.4,
            "seed": 0,
        }
        asked = {"attack": "mine", "attack.steps": 6}
        assert hyperparameters(settings, asked | {"debug": True}) == hyperparameters(settings, {}) | asked


def test_a_second_attempt_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    """A run that was killed before its end writes all again."""
    first = write(tmp_path)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if "tfevents" not in path.name)
    second = write(tmp_path, summary={**SUMMARY, "seconds": 41.0})
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert [path for path in files if not (tmp_path / path).exists()] == []
    assert second.Tags()["scalars"] == first.Tags()["scalars"]
    for tag in second.Tags()["scalars"]:
        assert len(second.Scalars(tag)) == len(first.Scalars(tag)), tag
    assert [event.value for event in second.Scalars("attack/seconds")] == [41]
    assert all(len(second.Images(tag)) == 1 for tag in second.Tags()["images"])


class TestGenerator:
    def test_shows_what_it_learnt(self, tmp_path: Path) -> None:
        """Written a second time, the pictures replace the first, and nothing else is touched."""
        painter = generator()
        images = torch.randint(0, 256, (70, 1, 8, 12), generator=torch.Generator().manual_seed(1)).byte()
        weights = {name: value.clone() for name, value in painter.state_dict().items()}
        state = torch.get_rng_state()
        (tmp_path / "events.out.tfevents.1.of.the.training").write_bytes(b"")
        for _ in range(2):
            write_generator_pictures(painter, images, tmp_path)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(value, weights[name]) for name, value in painter.state_dict().items())
        assert len(list(tmp_path.iterdir())) == 2
        events = read(tmp_path)
        originals = images[:64].float() / 255
        codes = torch.randn(64, LATENT, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = {
                "x": originals,
                "reconstruction": painter.reconstruct(originals),
                "prior_samples": painter.generate(codes),
            }
        assert set(events.Tags()["images"]) == {f"pictures/{name}" for name in expected}
        for name, shown_images in expected.items():
            sheet = picture(events, f"pictures/{name}")
            assert sheet.shape == (8 * 8, 8 * 12, 3)
            assert shown(shown_images, sheet, 8, 12, across=8)


class TestNames:
    TASK = ("dataset=mnist", "model/victim=mlp", "+people.note='a/b, c'", "attack.strength=2.5")

    @pytest.mark.parametrize(
        ("planned", "name"),
        [
            (["attack.strength=1,2.5"], "attack.strength=2.5"),
            (["attack.strength=range(1,4)", "model/victim=mlp,lenet"], "model/victim=mlp,attack.strength=2.5"),
            (["+people.note=choice(x,'a/b, c')", "dataset=mnist"], "+people.note='a/b, c'"),
            (["dataset=mnist"], "everything"),
        ],
    )
    def test_are_made_of_what_was_swept(self, tmp_path: Path, planned: list[str], name: str) -> None:
        text = "\n".join(f"      - {override}" for override in planned)
        (tmp_path / "multirun.yaml").write_text(f"hydra:\n  overrides:\n    task:\n{text}\n")
        assert swept_overrides(str(tmp_path), self.TASK, "everything") == name

    def test_hold_everything_where_nobody_tells_what_is_swept(self, tmp_path: Path) -> None:
        assert swept_overrides(str(tmp_path), self.TASK, "everything") == "everything"

    def test_values_are_those_of_hydra(self) -> None:
        overrides = ["a=1", "++a.b=2.5e-1", "model/victim=mlp", "c=null", "d=true", "e=[1,2]", "f=${a}", "g='x, y'"]
        plain = {"a": 1, "a.b": 0.25, "model/victim": "mlp", "c": None, "d": True, "e": "[1,2]", "f": "${a}"}
        assert values_of(overrides) == plain | {"g": "x, y"}
        assert swept_keys(["a=1", "b=1,2", "+c=range(3)", "d=[1,2]", "e=choice(x,y)"]) == ["b", "c", "e"]
