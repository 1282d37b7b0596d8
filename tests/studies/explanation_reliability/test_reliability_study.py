"""The whole study: its shipped config, what it refuses, and a tiny run through the command line."""

import csv
import html
import json
import math
import re
from pathlib import Path

import pytest
import torch
from conftest import compose, run_in_process, start_and_kill
from hydra.utils import instantiate
from PIL import Image
from reliability_config import CONTROLS, MATCHED
from safetensors.torch import load_file

from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError
from cam_adv.metrics.clusters import connected_clusters
from cam_adv.metrics.funnel import QUESTIONS
from cam_adv.metrics.intervals import clustered_rate
from cam_adv.studies.explanation_reliability import controls
from cam_adv.studies.explanation_reliability.study import high_confidence_variant

STUDY = ["study=explanation_reliability", "study.victims=[0,1]", "study.images=6"]


def test_shipped_controls_are_those_of_the_module() -> None:
    assert set(settings_from(compose(STUDY)).study.controls) == set(CONTROLS)


@pytest.mark.parametrize("name", CONTROLS)
def test_shipped_control_makes_its_images_and_is_matched_or_not(name: str) -> None:
    control = settings_from(compose(STUDY)).study.controls[name]
    assert (control.name, control.matched) == (name, name in MATCHED)
    assert instantiate(control.image).func is getattr(controls, name)


def test_without_victim_fixes_the_multiplier_and_leaves_the_cam_out(tiny: list[str]) -> None:
    attack = settings_from(compose([*tiny, "attack=type1_cam", "attack.init=[real_image,mean]"])).attack
    transition = controls.without_victim(attack)
    assert (transition.penalty["start"], transition.penalty["cap"]) == (0, 0)
    assert (transition.init, transition.keep_best) == (["real_image"], False)
    assert attack.weights.cam > 0
    assert transition.weights == attack.weights.model_copy(update={"cam": 0})


def test_high_confidence_variant_raises_the_required_confidence(tiny: list[str]) -> None:
    attack = high_confidence_variant(settings_from(compose(tiny)).attack, 0.99)
    assert (attack.confidence, attack.penalty["confidence"]) == (0.99, 0.99)
    published = settings_from(compose(["attack=tang2018"])).attack
    assert high_confidence_variant(published, 0.99).penalty == published.penalty


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["study.victims=[0,0]"], "names a seed twice"),
        (["study.confidence=0.8"], "study.confidence=0.8"),
        (["study.targets=10"], "9 other classes"),
        (["model.victim.training=null"], "comes trained"),
        (["study.images=1"], "study.images=1"),
        ([f"study.controls.{name}.matched=false" for name in MATCHED], "nothing to exceed"),
        (
            ["study.arms.type1_cam.attack.confidence=0.995"],
            "stronger attack than study.arms.type1_cam.attack.confidence",
        ),
        (["attack@study.arms.type1_cam.attack=pgd"], "study.arms.type1_cam.attack=pgd is a Type II attack"),
        (["+study.controls.attack=${study.controls.real_pair}"], "another key"),
        (["study.attributions.cam.method._target_=cam_adv.nowhere"], "can't be imported"),
        (["study.attributions.grad_cam.method.rectify=null", "+study.attributions.cam.method.x=1"], "x"),
    ],
)
def test_study_invalid_settings_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings_from(compose([*STUDY, *overrides]))


@pytest.mark.slow
class TestTinyStudy:
    """Two victims, six images, two targets, through the command line."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
        overrides = [
            *STUDY,
            "study.targets=2",
            "study.confidence=0.5",
            "~study.arms.type1_latent",
            "study.arms.type1_cam.attack.steps=20",
            "study.arms.type1_cam.attack.confidence=0.34",
            "study.arms.type1_cam.images=3",
            "study.deletion_insertion_steps=2",
            "study.folds=2",
            "study.caliper=3",
            "study.controls.random_latent_perturbation.matched=false",  # this generator's codes have no class
            "~study.attributions.score_cam",
            "study.attributions.integrated_gradients.method.steps=2",
            "model.generator.training.svae_epochs=60",
            "attack.steps=60",
            "attack.confidence=0.34",
            "attack.init=[real_image,mean]",
            "attack.batch_size=12",
            # One judge and no surrogates: five trainings less, and shorter steps of every attack.
            "~model.judge.members.residual",
            "~model.judge.members.wide_kernel",
            "attack.weights.surrogates=0",
            "study.arms.type1_cam.attack.weights.surrogates=0",
        ]
        root = tmp_path_factory.mktemp("reliability")
        # The study is killed after one victim of two, so everything below also holds for a resumed study.
        start_and_kill([*tiny, *overrides, "hydra.run.dir=run"], root, "run/batches/measured_*.safetensors")
        answer = run_in_process([*tiny, *overrides, "resume=run"], root)
        assert answer.code == 0, answer.err
        assert "H3 concealment" in answer.out
        assert "and under other attacks?" in answer.out
        return root / "run"

    @pytest.fixture(scope="class")
    @classmethod
    def content(cls, folder: Path) -> dict:
        return json.loads((folder / "explanation_reliability.json").read_text())["attributions"]

    def test_study_withholds_verdicts_since_its_images_are_too_few(self, folder: Path) -> None:
        content = json.loads((folder / "explanation_reliability.json").read_text())
        known = content["meta_evaluation"]
        assert known["result"] == "too few images"
        assert {(one["name"], one["claim"]) for one in known["answers"]} >= {
            ("scrambled", "instability"), ("scrambled", "concealment"), ("constant", "unfaithfulness"),
            ("copied", "concealment"), ("reversed", "instability"), ("random weights", "unfaithfulness"),
            ("planted cue", "instability"), ("planted cue left behind", "unfaithfulness"),
        }  # fmt: skip
        plan = json.loads((folder / "plan.json").read_text())
        assert content["plan"] == {"digest": plan["digest"], "changed_since": []}
        assert {name: attack["confidence"] for name, attack in plan["attacks"].items()} == {
            "attack": 0.34, "high_confidence_attack": 0.5, "type1_cam": 0.34, "high_confidence_type1_cam": 0.5,
        }  # fmt: skip
        assert known["sentence"] in html.unescape((folder / "explanation_reliability.html").read_text())

    def test_study_decides_every_claim_about_every_attribution(self, content: dict) -> None:
        expected = set(settings_from(compose(STUDY)).study.attributions) - {"score_cam"}
        assert set(content) == expected
        for by_claim in content.values():
            assert set(by_claim) == {"instability", "unfaithfulness", "concealment"}
            for finding in by_claim.values():
                assert finding["verdict"] == "withheld"
                assert finding["clusters"] <= finding["images"] <= 6
                assert finding["p_above"] == finding["p_below"] == 1  # six images are too few
                if finding["effect"] is not None:
                    assert finding["low"] <= finding["effect"] <= finding["high"]
        assert content["cam"]["instability"]["effect"] is not None
        assert content["cam"]["unfaithfulness"]["effect"] is not None
        assert content["cam"]["unfaithfulness"]["other_attacks"] == {}  # the slowest measure
        assert content["cam"]["instability"]["details"].keys() >= {
            "attack - reconstruction", "attack - real_pair", "attack - random_latent_perturbation",
            "attack - pixel_noise", "attack - transition", "attack - real_target", "attack - random_weights",
            "attack - shuffled_labels", "attack - blank_image", "attack - mean_map", "attack - random_map",
        }  # fmt: skip

    def test_study_attacks_by_every_arm_and_says_what_its_maps_show(self, folder: Path) -> None:
        content = json.loads((folder / "explanation_reliability.json").read_text())
        assert {arm: set(of) for arm, of in content["arms"].items()} == {"type1_cam": {"cam", "contrast_cam"}}
        for finding in content["arms"]["type1_cam"]["cam"].values():
            assert finding["verdict"] == "withheld"
        for name in ("type1_cam", "high_confidence_type1_cam"):
            files = [load_file(folder / f"{name}_{seed}.safetensors") for seed in (0, 1)]
            first = load_file(folder / "attack_0.safetensors")
            for file in files:
                assert torch.equal(file["index"], first["index"][:6])  # three images with two targets
                assert file["x_adv"].shape == file["x"].shape
        assert {one["arm"] for one in content["power"]} == {"attack", "type1_cam"}

    def test_study_attacks_the_same_images_on_every_victim(self, folder: Path) -> None:
        attacks = json.loads((folder / "attacks.json").read_text())
        for name in ("attack", "high_confidence_attack"):
            files = [load_file(folder / f"{name}_{seed}.safetensors") for seed in (0, 1)]
            assert all(torch.equal(files[0][key], files[1][key]) for key in ("x", "y", "target", "index"))
            assert not torch.equal(files[0]["x_adv"], files[1]["x_adv"])
            successes = torch.cat([file["success"] for file in files])
            assert attacks[name]["success"]["rate"] == pytest.approx(successes.double().mean().item())
            assert set(QUESTIONS) <= set(attacks[name])
            image, start = (torch.cat([file[key] for file in files]) for key in ("index", "z_start"))
            cluster = connected_clusters(image, start).tolist()  # of a few images those that share a start share y
            assert attacks[name]["success"] == pytest.approx(vars(clustered_rate(successes.bool().tolist(), cluster)))
            assert attacks[name]["attempted"]["rate"] == 1

    def test_study_measures_differ_between_attributions_and_are_finite(self, content: dict, folder: Path) -> None:
        """Contrast CAM and CAM differ; Grad-CAM differs from CAM only by its ReLU, with the same ranking."""
        assert content["contrast_cam"]["instability"]["effect"] != content["cam"]["instability"]["effect"]
        with (folder / "measures.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert {line["measure"] for line in lines} >= {
            "map_dissimilarity", "spearman", "top_iou", "ssim", "earth_movers",
        }  # fmt: skip
        means = [
            float(line["mean"]) for line in lines if line["measure"] == "map_dissimilarity" and line["rows"] != "0"
        ]
        assert all(map(math.isfinite, means))

    def test_study_draws_its_figures_and_leaves_nothing_unfinished(self, folder: Path) -> None:
        path = "dots_to_häuser"
        for name in (
            "explanation_reliability", "softmax_invariance", "controls", "trajectories", path, f"attributions_{path}",
        ):  # fmt: skip
            with Image.open(folder / "figures" / f"{name}.png") as image:
                assert min(image.size) > 100
                low, high = image.convert("L").getextrema()
                assert high - low > 100
        assert not [path for path in folder.parent.rglob("*") if path.name.endswith((".part", ".training"))]
        assert not (folder / "batches").exists()
        assert not (folder / "summary.json").exists()  # an attack's, from which a sweep takes its rates

    def test_study_page_has_every_verdict_and_every_figure(self, folder: Path, content: dict) -> None:
        page = html.unescape((folder / "explanation_reliability.html").read_text())
        for name, by_claim in content.items():
            assert f"<td>{name}</td>" in page
            for finding in by_claim.values():
                assert finding["verdict_text"] in page
        shown = re.findall(r'<img src="([^"]+)"', page)
        assert {f"figures/{path.name}" for path in (folder / "figures").glob("*.png")} == set(shown)
        ranks = [
            page.index(f"<td>{name}</td>") for name in json.loads((folder / "attacks.json").read_text())["ranking"]
        ]
        assert ranks == sorted(ranks)

    def test_study_trains_the_sanity_check_model_on_shuffled_labels(self, folder: Path) -> None:
        """One of three victims is trained on shuffled labels, so its accuracy is low."""
        metrics = [
            json.loads(path.read_text())["accuracy"]
            for path in (folder.parent / "outputs" / "models").glob("victim-*/metrics.json")
        ]
        assert len(metrics) == 3
        assert min(metrics) < 0.7
