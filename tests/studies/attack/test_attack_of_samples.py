"""`selection.source=generated` through the command line: an attack from samples of y', and what is refused."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from conftest import CLASS_NAMES, AttackRun, CommandResult, compose, page_data, run_in_process, stored_models
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cam_adv.api import load
from cam_adv.attacks.latent.class_samples import sample_classes
from cam_adv.attacks.latent.latent_density import LatentDensity
from cam_adv.config.compose import settings_from
from cam_adv.data.selection import draw_pairs
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator

GENERATED = "selection.source=generated"
PAIRS = ["selection.target=every", "dataset.example_pairs=[[0,1],[1,0]]"]
STRONG = ["attack.steps=30", "attack.residual.eps=8", "attack.residual.scale=0.2", "attack.penalty.start=10"]
"""Enough for the victim to say y of most samples."""

TRAINED = ["model.generator.training.svae_epochs=60", "model.generator.network.width=8"]
"""Enough for f2 to read every class in samples of it; the tiny generator's f2 never reads one of them."""

IMAGES = 12


def attack(tiny: list[str], root: Path, *overrides: str) -> CommandResult:
    """The tiny command from samples of a generator that is trained enough."""
    return run_in_process([*tiny, *TRAINED, GENERATED, *overrides], root)


@pytest.fixture(scope="module")
def run(
    tiny: list[str], attack_run: AttackRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AttackRun, CommandResult]:
    """The run from samples, with every ordered pair twice, and what it printed; the store is its own."""
    root = tmp_path_factory.mktemp("samples")
    copytree(attack_run.root / "outputs", root / "outputs")
    result = attack(tiny, root, *PAIRS, *STRONG, "hydra.run.dir=run")
    assert result.code == 0, result.err
    return AttackRun(root, root / "run", load_file(root / "run" / "attack.safetensors"), stored_models(root)), result


@pytest.fixture(scope="module")
def generator(run: tuple[AttackRun, CommandResult], tiny: list[str]) -> Generator:
    """The stored generator of the run."""
    return load(*tiny, *TRAINED, f"outputs={run[0].root / 'outputs'}").generator


@pytest.mark.slow
class TestRun:
    def test_pairs_are_drawn_and_rows_are_numbered(self, run: tuple[AttackRun, CommandResult]) -> None:
        tensors, pairs = run[0].tensors, draw_pairs(3, IMAGES, "every", seed=0)
        assert torch.equal(tensors["y"], pairs.y)
        assert torch.equal(tensors["target"], pairs.target)
        assert tensors["index"].tolist() == list(range(IMAGES))
        assert [int(row["index"]) for row in run[0].rows] == list(range(IMAGES))

    def test_x_is_a_sample_of_the_target_class(
        self, run: tuple[AttackRun, CommandResult], generator: Generator, splits: ImageSplits
    ) -> None:
        """The very one, and f2 reads it, and the code that the attack starts at, as y'."""
        tensors = run[0].tensors
        labels = torch.cat([tensors["target"], torch.tensor([1, 0])])  # of the examples, too
        density = LatentDensity.of(generator, splits.train)
        samples = sample_classes(generator, density, labels, CLASS_NAMES, seed=1).images[:IMAGES]
        assert torch.equal(tensors["x"], samples.float() / 255)
        with torch.no_grad():
            assert torch.equal(generator.classify(tensors["x"]).argmax(dim=1), tensors["target"])
            assert torch.equal(generator.classifier(tensors["z_start"]).argmax(dim=1), tensors["target"])
            assert torch.allclose(generator.encode(tensors["x"]).mean, tensors["z0"], atol=1e-5)
        assert torch.equal(tensors["z_start"], tensors["z0"])

    def test_success_is_that_the_victim_says_y_and_the_judge_reads_the_target(
        self, run: tuple[AttackRun, CommandResult]
    ) -> None:
        tensors, y = run[0].tensors, run[0].tensors["y"]
        probs = tensors["victim_probs"]
        says = (probs.argmax(dim=1) == y) & (probs[torch.arange(IMAGES), y] >= 0.4)
        success = says & (tensors["judge_reads"] == tensors["target"])
        assert [row["success"] for row in run[0].rows] == [str(int(one)) for one in success]
        assert run[0].summary["success"]["rate"] == pytest.approx(success.double().mean().item())
        before = (tensors["victim_probs_x"].argmax(dim=1) == y).sum()
        assert says.sum() >= before + IMAGES // 2  # the attack has moved the victim to y

    def test_files_say_what_x_is(self, run: tuple[AttackRun, CommandResult]) -> None:
        row, folder = run[0].rows[0], run[0].folder
        assert run[0].summary["x"] == "sample of y'"
        assert {"victim_sample", "judge_reads_sample", "plausibility_sample"} <= row.keys()
        assert not [name for name in row if name.endswith(("_x", "_x_confidence"))]
        events = EventAccumulator(str(folder))
        events.Reload()
        images = events.Tags()["images"]
        assert "views/sample" in images
        assert "views/x" not in images
        labels = (folder / "projector" / "labels.tsv").read_text().splitlines()[1:]
        assert [label.split("\t")[0] for label in labels] == ["sample of y'"] * IMAGES + ["x'"] * IMAGES
        names = {"dots_as_häuser", "häuser_as_dots", "pairs", "matrix", "terms"}
        assert {path.stem for path in (folder / "figures").glob("*.png")} == names

    def test_page_says_what_x_is(self, run: tuple[AttackRun, CommandResult]) -> None:
        page = run[0].folder / "report.html"
        data = page_data(page)
        assert data["fromSamples"]
        assert data["ends"][1] == "the victim does not say y"
        says = [row["victim_keeps"] == "1" for row in run[0].rows]
        assert [data["ends"][row["end"]] != "the victim does not say y" for row in data["rows"]] == says
        assert "<td>the victim says y</td>" in page.read_text()

    def test_table_says_what_x_is_and_that_the_victim_says_y(self, run: tuple[AttackRun, CommandResult]) -> None:
        printed = " ".join(run[1].out.split())
        assert " on image_folder, each x a sample of y'" in printed
        assert "the victim says y │" in printed
        assert "success: the victim says y, the judge reads y'" in printed
        assert "keeps y" not in printed

    def test_batch_size_does_not_change_the_samples(
        self, run: tuple[AttackRun, CommandResult], tiny: list[str]
    ) -> None:
        result = attack(tiny, run[0].root, *PAIRS, "attack.batch_size=12", "hydra.run.dir=one_batch")
        assert result.code == 0, result.err
        tensors = load_file(run[0].root / "one_batch" / "attack.safetensors")
        assert torch.equal(tensors["x"], run[0].tensors["x"])

    def test_other_seed_draws_other_samples(self, run: tuple[AttackRun, CommandResult], tiny: list[str]) -> None:
        """Of the class that the target names."""
        overrides = ["selection.target='häuser'", "seed=5", "attack.steps=1"]
        result = attack(tiny, run[0].root, *overrides, "hydra.run.dir=other")
        assert result.code == 0, result.err
        tensors = load_file(run[0].root / "other" / "attack.safetensors")
        assert tensors["target"].tolist() == [1] * IMAGES
        assert set(tensors["y"].tolist()) == {0, 2}
        assert not np.isin(tensors["x"].flatten(1).sum(dim=1), run[0].tensors["x"].flatten(1).sum(dim=1)).any()

    def test_class_that_the_generator_cannot_draw_is_refused_in_words(
        self, attack_run: AttackRun, tiny: list[str]
    ) -> None:
        """The generator of the tiny run is trained too little."""
        result = run_in_process([*tiny, GENERATED, *PAIRS, "hydra.run.dir=untrained"], attack_run.root)
        assert result.code == 2
        assert "f2 reads class wide stripes in none of 100 pictures that the generator draws" in result.err
        assert "model.generator.training" in result.err

    def test_reading_refuses_the_run(
        self, run: tuple[AttackRun, CommandResult], command: Callable[..., CommandResult], tiny: list[str]
    ) -> None:
        """Its page shows real images of y among the others."""
        of_the_attack = ("attack.", "selection.")
        shared = [one for one in tiny if not one.startswith(of_the_attack)]
        answer = command(*shared, "study=reading", f"run={run[0].folder}")
        assert answer.code == 2
        assert "attacked samples of the generator, so it has no real images of y" in answer.err


REFUSED = [
    (["attack=pgd"], "attack=pgd is a Type II attack", "Use attack=type1"),
    (["attack=type2_latent"], "attack=type2_latent is a Type II attack", "Use attack=type1"),
    (
        ["attack.init=[mean,real_image]"],
        "attack.init=['mean', 'real_image'] from other codes, too",
        "Set attack.init to [mean]",
    ),
    (["attack=type1_cam"], "attack=type1_cam keeps the map of y", "Use attack=type1, or"),
    (["attack=type1_robust"], "attack=type1_robust keeps the map of y", "Use attack=type1, or"),
    *(
        ([f"study={study}"], f"study={study} is about images of the dataset", "its number")
        for study in ("attack_comparison", "adversarial_training", "explanation_reliability", "min_perturbation")
    ),
    (["selection.target=11"], "selection.target=11, but mnist_5k has no such class", "from 0 to 9"),
]


@pytest.mark.parametrize(("overrides", "what", "remedy"), REFUSED, ids=lambda part: str(part)[:40])
def test_refusal_before_data_is_loaded(overrides: list[str], what: str, remedy: str) -> None:
    """From the config alone."""
    with pytest.raises(UserError) as refused:
        settings_from(compose([GENERATED, *overrides]))
    assert what in refused.value.what
    assert remedy in refused.value.remedy
    assert "\n" not in refused.value.what + refused.value.remedy


def test_attack_that_is_not_of_samples_may_use_real_images() -> None:
    settings_from(compose(["attack.init=[mean,real_image]"]))
