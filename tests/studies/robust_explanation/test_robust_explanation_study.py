"""The study `robust_explanation`, and `attribution=robust` in a run: what they refuse, and tiny runs of both."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock, patch

import pytest
import torch
from conftest import AttackRun, compose, run_in_process
from PIL import Image
from safetensors.torch import load_file

from cam_adv.api import load
from cam_adv.config.compose import settings_from
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.metrics.intervals import newcombe_paired, wilson
from cam_adv.studies.attack.finished_attack import FigureData
from cam_adv.studies.robust_explanation import study

STUDY = "study=robust_explanation"
ROBUST = "attribution=robust"
LEFT_OUT = ("type1_high_confidence", "type1_cam", "type1_robust_held_out")
ATTACKS = ("type1", "type1_robust")
ATTRIBUTIONS = ("cam", "contrast_cam", "grad_cam", "integrated_gradients", "robust")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([STUDY, "study.reference=saliency"], r"study\.reference=saliency is none of study\.attributions"),
        ([STUDY, "study.attributions.robust.level=0.05"], r"uses up study\.target_fpr=0\.05.*\n.*such as 0\.025"),
        ([STUDY, "study.abstention=0.05"], r"study\.abstention=0\.05 uses up.*\n.*Set study\.abstention to less"),
        (
            [STUDY, "study.permutations=98"],
            r"study\.permutations=98 can't show.*\n.*study\.permutations to 99 or more",
        ),
        ([STUDY, "+attack@study.attacks.pgd=pgd"], r"study\.attacks\.pgd is pgd, a Type II attack"),
        ([ROBUST, "attribution.robust.samples=0"], r"attribution\.robust\.samples=0 can't be used"),
        ([ROBUST, "attribution.robust.victims=[0,1]"], r"has the seed of the victim itself"),
        ([ROBUST, "attribution.robust.victims=[1,1]"], r"attribution\.robust\.victims=\[1, 1\] names a seed twice"),
        ([ROBUST, "model.victim.training=null"], r"attribution\.robust needs independent victims"),
        ([ROBUST, "study=min_perturbation"], r"attribution=robust explains the images of study=attack"),
        (
            ["study=explanation_reliability", "+attribution@study.attributions.a=robust"],
            r"Use study=robust_explanation",
        ),
        (["attribution=[cam,robust]"], r"attribution=cam adds nothing"),
        (["attack=type1_robust", "attack.interpretation.victims=[0]"], r"attack\.interpretation\.victims=\[0\] has"),
        (["+attribution={name: mine, method: {_target_: a.b}}"], r"# @package attribution\.mine"),
    ],
)
def test_invalid_settings_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings_from(compose(overrides))


def test_several_attributions_stand_beside_each_other() -> None:
    settings = settings_from(compose(["attribution=[robust,grad_cam]", "attribution.robust.victims=[5]"]))
    assert list(settings.attribution) == ["robust", "grad_cam"]
    assert settings.attribution["robust"].victims == [5]


def test_study_without_a_robust_interpretation_still_has_attacks_on_it() -> None:
    checked = settings_from(compose([STUDY, "~study.attributions.robust", "study.abstention=0.01"])).study
    assert "robust" not in checked.attributions
    assert checked.attacks["type1_robust"].interpretation.level == 0.01
    assert checked.attacks["type1_robust_held_out"].interpretation.level == 0.01


@pytest.mark.parametrize(
    ("selection", "sources", "offsets"),
    [
        (["selection.source=1"], {1}, {1, 2}),
        (["selection.target=0"], {1, 2}, {1, 2}),
        (["selection.target=next"], {0, 1, 2}, {1}),
        (["selection.source=1", "selection.target=0"], {1}, {2}),
        (["selection.target=every"], {0, 1, 2}, {1, 2}),
    ],
)
def test_honest_images_are_drawn_as_the_attacked_ones(
    tiny: list[str], splits: ImageSplits, selection: list[str], sources: set[int], offsets: set[int]
) -> None:
    counts = ["study.images=4", "study.honest=4", "study.abstention=0.02"]
    settings = settings_from(compose([*tiny, STUDY, *counts, *selection]))
    every_test, every_validation = (
        torch.ones(len(part), dtype=torch.bool) for part in (splits.test, splits.validation)
    )
    attacked, honest = settings.study._draw(settings, splits, every_test)
    unused = every_test.clone()
    unused[torch.cat([attacked.index, honest.index])] = False
    images, calibration = settings.study._draw_calibration(settings, splits, unused, every_validation)
    assert not set(attacked.index.tolist()) & set(honest.index.tolist())
    for drawn in (attacked, honest, calibration):
        assert set(drawn.y.tolist()) <= sources
        assert set(((drawn.target - drawn.y) % 3).tolist()) <= offsets
        if isinstance(target := settings.selection.target, int):
            assert set(drawn.target.tolist()) == {target}
    candidates = torch.cat([splits.test.images[unused], splits.validation.images])
    labels = torch.cat([splits.test.labels[unused], splits.validation.labels])
    assert torch.equal(images, candidates[torch.isin(labels, torch.tensor(list(sources)))])


def test_too_few_honest_images_of_the_class_are_told(tiny: list[str], splits: ImageSplits) -> None:
    settings = settings_from(compose([*tiny, STUDY, "study.images=3", "study.honest=20", "selection.source=1"]))
    left = int((splits.test.labels == 1).sum()) - 3
    with pytest.raises(UserError, match=rf"only {left} test images.*\n.*Set study\.honest to {left} or less"):
        settings.study.check_data(settings, settings.attack, splits)


def test_without_attribution_there_is_none() -> None:
    assert settings_from(compose()).attribution == {}


@pytest.fixture(scope="module")
def root(attack_run: AttackRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with copies of the first study's models: these runs add others."""
    root = tmp_path_factory.mktemp("robust_explanation")
    shutil.copytree(attack_run.root / "outputs" / "models", root / "outputs" / "models")
    return root


@pytest.mark.slow
class TestStudy:
    @pytest.fixture(scope="class")
    @classmethod
    def given(cls) -> Iterator[MagicMock]:
        """Records what alarms are given from."""
        with patch.object(study, "give_alarms", wraps=study.give_alarms) as recorded:
            yield recorded

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tiny: list[str], root: Path, given: MagicMock) -> Path:
        small = ["images=8", "honest=6", "target_fpr=0.4", "folds=2", "abstention=0.2"]
        small += ["attributions.robust.samples=2", "attributions.integrated_gradients.method.steps=2"]
        for name in ATTACKS:
            # Nearly free in pixels, since the tiny generator draws no image that the judge reads.
            changes = ["steps=30", "trace_points=2", "confidence=0.34", "residual.eps=30", "residual.scale=0.2"]
            small += [f"attacks.{name}.{one}" for one in changes]
        overrides = [*tiny, STUDY, *(f"study.{one}" for one in small)]
        overrides += [f"~study.attacks.{name}" for name in LEFT_OUT]
        answer = run_in_process([*overrides, "hydra.run.dir=study"], root)
        assert answer.code == 0, answer.err
        return root / "study"

    def test_json_follows_from_the_tensors(self, folder: Path) -> None:
        content = json.loads((folder / "robust_explanation.json").read_text())
        assert tuple(content["attacks"]) == (*ATTACKS, "unchanged", "reconstruction")
        successes = 0
        for attack in ATTACKS:
            tensors, measured = load_file(folder / f"{attack}.safetensors"), content["attacks"][attack]
            assert tuple(measured) == ATTRIBUTIONS
            y, victim = tensors["y"], tensors["victim_probs"]
            keeps = (victim.argmax(dim=1) == y) & (victim[torch.arange(8), y] >= 0.34)
            success = keeps & (tensors["judge_reads"] == tensors["target"])
            successes += int(success.sum())
            shown = {name: success & ~tensors[f"abstained_{name}"].bool() for name in ATTRIBUTIONS}
            too_few = {name for name, one in shown.items() if 0 < one.sum() < 2}
            assert too_few == {name for name in ATTRIBUTIONS if f"alarm_{name}" not in tensors}
            assert too_few == {name for name in ATTRIBUTIONS if measured[name]["concealed"] is None}
            concealed = {
                name: success & ~tensors[f"alarm_{name}"].bool() for name in ATTRIBUTIONS if name not in too_few
            }
            for name, one in concealed.items():
                assert measured[name]["concealed"] == pytest.approx(vars(wilson(int(one.sum()), 8)))
            assert measured["cam"]["difference"] is None
            if {"robust", "cam"} & too_few:
                assert measured["robust"]["difference"] is None
                continue
            ours, reference = concealed["robust"], concealed["cam"]
            counts = [ours & reference, ~ours & reference, ours & ~reference, ~ours & ~reference]
            expected = vars(newcombe_paired(*(int(one.sum()) for one in counts)))
            assert measured["robust"]["difference"] == pytest.approx(expected)
        assert successes > 0

    def test_only_the_robust_interpretation_abstains_and_has_no_map_there(self, folder: Path) -> None:
        for attack in ATTACKS:
            tensors = load_file(folder / f"{attack}.safetensors")
            for name in ATTRIBUTIONS:
                abstained = tensors[f"abstained_{name}"].bool()
                assert name == "robust" or not abstained.any()
                assert torch.equal(tensors[f"map_{name}"].isnan().flatten(1).any(dim=1), abstained)
                assert tensors.get(f"alarm_{name}", abstained).bool()[abstained].all()

    def test_detectors_get_the_clusters_of_the_attacks(self, folder: Path, given: MagicMock) -> None:
        for attack, call in zip(ATTACKS, given.call_args_list, strict=False):
            cluster = load_file(folder / f"{attack}.safetensors")["cluster"]
            assert torch.equal(call.args[4], cluster)
            assert cluster.tolist() != list(range(8))

    def test_every_attack_gets_the_same_images_and_figures(self, folder: Path) -> None:
        indices = [load_file(folder / f"{attack}.safetensors")["index"] for attack in ATTACKS]
        assert all(torch.equal(index, indices[0]) for index in indices)
        for name in ("robust_explanation", *ATTACKS):
            with Image.open(folder / "figures" / f"{name}.png") as image:
                assert min(image.size) > 80


@pytest.mark.slow
def test_run_with_attributions_has_their_maps_and_python_the_same_abstentions(tiny: list[str], root: Path) -> None:
    small = ["attack=type1_robust", *tiny, "attribution=[robust,grad_cam]", "attribution.robust.level=0.1"]
    small += ["attack.interpretation.level=0.1", "selection.images=6"]
    small = [one for one in small if one != "attack=type1"]
    answer = run_in_process([*small, "hydra.run.dir=run", "figures=later"], root)
    assert answer.code == 0, answer.err
    tensors, summary = (
        load_file(root / "run" / "attack.safetensors"),
        json.loads((root / "run" / "summary.json").read_text()),
    )
    assert tensors["grad_cam_x_adv"].shape == tensors["robust_x_adv"].shape == (6, 4, 4)
    context = load(*small, f"outputs={root / 'outputs'}")
    for name in ("x", "x_adv"):
        explained = context.interpretation().explain(tensors[name], tensors["y"], tensors["target"])
        abstained = tensors[f"abstained_{name}"].bool()
        assert torch.equal(explained.abstained, abstained)
        assert summary[f"abstained_{name}"] == pytest.approx(abstained.double().mean().item())
        torch.testing.assert_close(explained.maps, tensors[f"robust_{name}"], equal_nan=True, atol=1e-4, rtol=0)
        torch.testing.assert_close(explained.as_target, tensors[f"as_target_{name}"])
    walks = FigureData.read(root / "run").walks
    assert walks.robust is not None
    for frame, name in ((0, "x"), (-1, "x_adv")):
        expected = tensors[f"robust_{name}"][walks.rows]
        torch.testing.assert_close(walks.robust[:, frame], expected, equal_nan=True, atol=1e-4, rtol=0)
