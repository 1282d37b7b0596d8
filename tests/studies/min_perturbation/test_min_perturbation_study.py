"""The study `min_perturbation`: its config, and a tiny run."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import compose

from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError
from cam_adv.studies.min_perturbation.config import DDNSearch, PGDSearch, SearchConfig

NORMS = ("l1", "l2", "linf")


@pytest.fixture
def overrides(tiny: list[str]) -> list[str]:
    small = ["images=4", "batches=3", "samples=6", "search.ddn.steps=20", "search.pgd.bisection_steps=3"]
    return [*tiny, "study=min_perturbation", *(f"study.{one}" for one in small)]


@pytest.mark.slow
class TestRun:
    def test_run_writes_bounds_for_each_image_and_norm(
        self, command: Callable, overrides: list[str], tmp_path: Path
    ) -> None:
        answer = command(*overrides, "hydra.run.dir=here")
        assert answer.code == 0, answer.err
        folder = tmp_path / "here"
        with (folder / "min_perturbation.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["norm"] for row in rows] == [norm for norm in NORMS for _ in range(4)]
        content = json.loads((folder / "min_perturbation.json").read_text())
        assert "not a certificate" in content["caution"]
        assert "not a certificate" in answer.out
        for row in rows:
            targeted = {name.removeprefix("clever "): row[name] for name in row if name.startswith("clever ")}
            assert targeted.pop(row["y"]) == ""
            assert float(row["clever"]) == min(map(float, targeted.values()))
            assert targeted[row["nearest"]] == row["clever"]
            assert row["exceeds"] == str(int(bool(row["found"]) and float(row["clever"]) > float(row["found"])))
            limit = float(row["margin"]) / float(row["lipschitz"])
            assert float(row["clever"]) == pytest.approx(min(limit, content[row["norm"]]["radius"]), rel=1e-4)
        for norm in NORMS:
            of_norm = [row for row in rows if row["norm"] == norm]
            assert content[norm]["exceeds"]["rate"] == sum(int(row["exceeds"]) for row in of_norm) / 4
        assert (folder / "figures" / "min_perturbation.png").stat().st_size > 0
        assert [path.name.split("-")[0] for path in (tmp_path / "outputs" / "models").glob("*-*/")] == ["victim"]
        again = command(*overrides, "hydra.run.dir=here", "resume=here")
        assert "Nothing is left to do" in again.out

    def test_too_many_images_raise_before_training(
        self, command: Callable, overrides: list[str], tmp_path: Path
    ) -> None:
        answer = command(*overrides, "study.images=100000")
        assert answer.code == 2
        assert "study.images=100000" in answer.err
        assert not (tmp_path / "outputs" / "models").exists()


class TestConfig:
    def test_shipped_settings_are_those_of_the_unit_tests(self) -> None:
        """CLEVER is compared with ART's scores, and the search with exact distances, with the shipped settings."""
        study = settings_from(compose(["study=min_perturbation"])).study
        assert (study.batches, study.samples, study.shape_penalty) == (20, 32, 0.1)
        assert study.search == SearchConfig(
            ddn=DDNSearch(steps=100, first_radius=1.0, gamma=0.05),
            pgd=PGDSearch(bisection_steps=8, steps=40, step_length=5.0, share=0.01),
            border_bisection_steps=20,
        )

    @pytest.mark.parametrize(
        ("override", "what"),
        [
            ("study.batches=2", "study.batches=2"),
            ("study.radii.l2=0", "study.radii.l2=0"),
            ("+study.radii.l3=1", "study.radii"),
            ("study.shape_penalty=0", "study.shape_penalty=0"),
            ("study.search.pgd.share=1.5", "study.search.pgd.share=1.5"),
        ],
    )
    def test_invalid_values_raise(self, override: str, what: str) -> None:
        with pytest.raises(UserError) as refusal:
            settings_from(compose(["study=min_perturbation", override]))
        assert what in refusal.value.what
