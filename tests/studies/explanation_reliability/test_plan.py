"""The plan that is written before the first attack."""

import json
from pathlib import Path
from typing import Any

import pytest
from reliability_config import make_config

from cam_adv.config.settings import Settings
from cam_adv.errors import UserError
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig
from cam_adv.studies.explanation_reliability.plan import Plan


def make_plan(settings: Settings, config: ReliabilityConfig | None = None, **changes: Any) -> Plan:
    """`changes` replace settings of the run."""
    return Plan.of(config or make_config(), {}, settings.model_copy(update=changes), ["0a", "1b", "2c"])


def test_plan_holds_rules_and_power_and_keeps_its_digest(settings: Settings, tmp_path: Path) -> None:
    plan = make_plan(settings, seed=3)
    plan.write(tmp_path)
    content = json.loads((tmp_path / "plan.json").read_text())
    assert (content["digest"], content["seed"], content["study"]["images"]) == (plan.digest, 3, 6)
    assert content["study"]["min_effect"]["passing"] == 0.08
    assert set(content["rules"]) >= {"instability", "unfaithfulness", "concealment"}
    assert {one["effect"] for one in content["power"]} == set(content["study"]["min_effect"])
    make_plan(settings, seed=3).write(tmp_path)
    assert plan.changes(tmp_path) == []


def test_plan_that_differs_from_the_written_one_is_refused_with_what_differs(
    settings: Settings, tmp_path: Path
) -> None:
    make_plan(settings, seed=3).write(tmp_path)
    changed = make_config(min_effect=make_config().min_effect.model_dump() | {"instability": 0.2})
    with pytest.raises(UserError, match=r"differs in digest, .*study\.min_effect\.instability"):
        make_plan(settings, changed, seed=3).write(tmp_path)
    assert make_plan(settings, seed=4).changes(tmp_path) == ["digest", "seed"]


def test_plan_edited_after_the_run_began_is_reported(settings: Settings, tmp_path: Path) -> None:
    plan = make_plan(settings, seed=3)
    plan.write(tmp_path)
    path = tmp_path / "plan.json"
    content = json.loads(path.read_text())
    content["study"]["min_effect"]["concealment"] = 0.5
    path.write_text(json.dumps(content))
    assert plan.changes(tmp_path) == ["study.min_effect.concealment"]


def test_whatever_decides_a_verdict_is_planned(settings: Settings, tmp_path: Path) -> None:
    """The level of the judge, the chosen images, the data, and code that is only reached through a setting."""
    make_plan(settings).write(tmp_path)
    judge = settings.model.judge.model_copy(update={"level": 0.5})
    models = settings.model.model_copy(update={"judge": judge})
    assert make_plan(settings, model=models).changes(tmp_path) == ["digest", "model.judge.level"]
    selection = settings.selection.model_copy(update={"target": "next"})
    assert make_plan(settings, selection=selection).changes(tmp_path) == ["digest", "selection.target"]
    other_data = Plan.of(make_config(), {}, settings, ["0a", "1b", "3d"])
    assert other_data.changes(tmp_path) == ["digest", "images"]
    method = {"_target_": "cam_adv.attributions.score_cam.score_cam", "_partial_": True}
    other_method = make_config(attributions={"cam": {"name": "cam", "method": method}})
    assert "code" in make_plan(settings, other_method).changes(tmp_path)
