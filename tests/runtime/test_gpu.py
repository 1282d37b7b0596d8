"""Commands on a GPU; every value that a GPU gave is computed again on the CPU."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import AttackRun, CommandResult, compose, stored_models
from safetensors.torch import load_file
from torch import nn

from cam_adv.config.compose import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.metrics.funnel import QUESTIONS
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.judge import Judge
from cam_adv.runtime import devices
from cam_adv.schema.hardware import HardwareSettings

GPUS = torch.cuda.device_count()
TWO_GPUS = pytest.mark.skipif(GPUS < 2, reason="needs two CUDA devices")

EXACT = (
    "index",
    "y",
    "target",
    "start",
    "cluster",
    "steps",
    "judge_reads_x_adv",
    *(question for question in QUESTIONS if question != "attempted"),
)


def hardware(*overrides: str) -> HardwareSettings:
    return settings_from(compose(overrides)).hardware


def verdicts(folder: Path) -> list[dict[str, str]]:
    """The columns of `results.csv` that don't depend on rounding."""
    with (folder / "results.csv").open(newline="") as file:
        return [{name: row[name] for name in EXACT} for row in csv.DictReader(file)]


def assert_verdicts_agree(folder: Path, run: AttackRun) -> None:
    """All but two: an image close to a decision boundary may differ."""
    agree = [one == other for one, other in zip(verdicts(folder), verdicts(run.folder), strict=True)]
    assert sum(agree) >= 10


@pytest.mark.gpu_compile
@pytest.mark.slow
@pytest.mark.skipif(GPUS == 0, reason="needs a CUDA device")
def test_compiled_attack_gives_the_verdicts_of_the_cpu(
    attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str]
) -> None:
    hardware = ["hardware=gpu", "hardware.compile=true"]
    result = command(*tiny[:-1], *hardware, f"outputs={attack_run.root / 'outputs'}", "hydra.run.dir=gpu")
    assert result.code == 0, result.err
    assert_verdicts_agree(Path("gpu"), attack_run)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(GPUS == 0, reason="needs a CUDA device")
class TestCommandOnGpu:
    CHOICES = (
        ["hardware=gpu"],
        ["hardware=gpu", "hardware.precision=bf16-mixed", "attack=type1_cam", "hardware.trainings=1"],
        ["hardware=free_gpu", "hardware.precision=16-mixed", "attack.batch_size=auto", "hardware.trainings=1"],
    )

    @pytest.mark.parametrize("choice", CHOICES, ids=" ".join)
    def test_attack_study_matches_the_cpu(
        self, command: Callable[..., CommandResult], tiny: list[str], choice: list[str]
    ) -> None:
        result = command(*choice, *tiny[:-1], "hydra.run.dir=run")
        assert result.code == 0, result.err
        tensors = load_file("run/attack.safetensors")
        networks = {}
        for role in ("victim", "generator"):
            (path,) = Path("outputs/models").glob(f"{role}-*/model.ckpt")
            state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
            assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())
            networks[role] = {name.removeprefix("network."): value for name, value in state.items()}
        generator = SVAE(1, 3, (16, 16), 8, width=4, hidden=32)
        generator.load_state_dict(networks["generator"])
        generator.eval()
        # Convolutions on a GPU round to TF32, mixed precision to eight bits: less than the error of a wrong image.
        tolerance = 0.02 if any("mixed" in word for word in choice) else 5e-3
        with torch.no_grad():
            assert torch.allclose(generator.encode(tensors["x"]).mean, tensors["z0"], atol=5 * tolerance)
            assert torch.allclose(generator.decode(tensors["z"]), tensors["generated"], atol=tolerance)
            f2 = generator.classifier(tensors["z"]).softmax(dim=1)
        assert torch.allclose(f2, tensors["f2_probs"], atol=tolerance)
        logits = tensors["cam_x_adv"].mean(dim=(2, 3)) + networks["victim"]["classifier.bias"]
        assert torch.allclose(tensors["victim_probs"].log().diff(dim=1), logits.diff(dim=1), atol=1e-3)
        shown = (tensors["generated"] + tensors["residual_path"][:, -1]).clamp(0, 1)
        assert torch.allclose(shown, tensors["x_adv"], atol=tolerance)
        # The predict step had gradients: the codes move, and the proxies' terms grow.
        assert (tensors["path"][:, 0] - tensors["path"][:, -1]).norm(dim=1).max() > 0.01
        assert tensors["term surrogates"][:, -1].mean() < tensors["term surrogates"][:, 0].mean()
        assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())

    def test_same_models_give_the_verdicts_of_the_cpu(
        self, attack_run: AttackRun, command: Callable[..., CommandResult], tiny: list[str]
    ) -> None:
        result = command(*tiny[:-1], "hardware=gpu", f"outputs={attack_run.root / 'outputs'}", "hydra.run.dir=gpu")
        assert result.code == 0, result.err
        tensors = load_file("gpu/attack.safetensors")
        for name in ("index", "x", "y", "target"):
            assert torch.equal(tensors[name], attack_run.tensors[name]), name
        assert torch.allclose(tensors["z0"], attack_run.tensors["z0"], atol=1e-2)
        assert torch.allclose(tensors["victim_probs_x"], attack_run.tensors["victim_probs_x"], atol=1e-2)
        assert torch.allclose(tensors["cam_x"], attack_run.tensors["cam_x"], atol=0.1)
        assert_verdicts_agree(Path("gpu"), attack_run)
        assert stored_models(attack_run.root) == attack_run.store

    def test_evaluator_moves_networks_from_the_cpu(self, splits: ImageSplits) -> None:
        device = devices.main_device(hardware("hardware=gpu"))
        network, generator = (
            nn.Sequential(nn.Flatten(), nn.Linear(256, 3)),
            SVAE(1, 3, (16, 16), 8, width=4, hidden=32),
        )
        member = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
        held_out = splits.validation
        expected = Judge({"one": member}, 0.1, 3, 10).fit(splits.train, held_out, torch.device("cpu"))
        on_cpu = expected.read(splits.test.images, torch.device("cpu"))
        judge = Judge({"one": member}, 0.1, 3, 10).fit(splits.train, held_out, device)
        evaluator = Evaluator.build(network, judge, generator, splits.test.images[:8], device)
        codes = torch.randn(4, 8)
        for _ in range(2):
            images = evaluator.decode(codes)
            assert images.device.type == "cpu"
            assert torch.allclose(images, generator.cpu().decode(codes), atol=1e-3)
            probabilities = evaluator.predict(images).victim
            assert torch.allclose(probabilities, network.cpu()(images).softmax(dim=1), atol=1e-3)
        for _ in range(2):
            judge.cpu()
            reading = judge.read(splits.test.images, device)
            assert reading.reads.device.type == "cpu"
            assert torch.allclose(reading.probs, on_cpu.probs, atol=1e-3)
            # Two held-out images of nearly equal measures may change their places.
            assert (reading.plausibility - on_cpu.plausibility).abs().max() < 3 / len(held_out)

    def test_explanation_reliability_study_runs(self, command: Callable[..., CommandResult], tiny: list[str]) -> None:
        """Every attribution and every control on the GPU."""
        overrides = ["study=explanation_reliability", "study.victims=[0]", "study.images=6"]
        overrides += [
            "hardware.trainings=1",
            "study.targets=1",
            "study.folds=2",
            "attack.confidence=0.35",
            "~study.arms.type1_latent",
            "study.arms.type1_cam.attack.confidence=0.35",
        ]
        result = command(*tiny[:-1], "hardware=gpu", *overrides, "study.confidence=0.4", "hydra.run.dir=run")
        assert result.code == 0, result.err
        assert Path("run/explanation_reliability.json").exists()

    @TWO_GPUS
    def test_two_gpus_give_the_verdicts_of_one(
        self,
        attack_run: AttackRun,
        command: Callable[..., CommandResult],
        command_process: Callable[..., CommandResult],
        tiny: list[str],
    ) -> None:
        result = command(*tiny[:-1], "hardware=gpu", f"outputs={attack_run.root / 'outputs'}", "hydra.run.dir=one")
        assert result.code == 0, result.err
        result = command_process([*tiny[:-1], "hardware=multi_gpu", "hydra.run.dir=two"], attack_run.root)
        assert result.code == 0, result.err
        agree = [a == b for a, b in zip(verdicts(Path("one")), verdicts(attack_run.root / "two"), strict=True)]
        assert sum(agree) >= 11

    @TWO_GPUS
    def test_idle_device_uses_the_second_gpu_where_the_first_is_taken(
        self, command: Callable[..., CommandResult], tiny: list[str]
    ) -> None:
        torch.cuda.reset_peak_memory_stats(0)
        torch.cuda.reset_peak_memory_stats(1)
        before = torch.cuda.max_memory_allocated(0)
        with devices.acquire_device(hardware("hardware=free_gpu")) as first:
            assert devices.main_device(first).index == 0
            result = command(*tiny[:-1], "hardware=free_gpu", "hydra.run.dir=run")
        assert result.code == 0, result.err
        assert torch.cuda.max_memory_allocated(0) == before
        assert torch.cuda.max_memory_allocated(1) > 0
