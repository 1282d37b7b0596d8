"""The plan that is written before the first attack."""

import json
from pathlib import Path

import pytest
from reliability_config import make_config

from cam_adv.errors import UserError
from cam_adv.studies.explanation_reliability.plan import Plan


def test_plan_holds_rules_and_power_and_keeps_its_digest(tmp_path: Path) -> None:
    plan = Plan.of(make_config(), {}, "digits", 3)
    plan.write(tmp_path)
    content = json.loads((tmp_path / "plan.json").read_text())
    assert (content["digest"], content["seed"], content["study"]["images"]) == (plan.digest, 3, 6)
    assert content["study"]["min_effect"]["passing"] == 0.08
    assert set(content["rules"]) >= {"instability", "unfaithfulness", "concealment"}
    assert {one["effect"] for one in content["power"]} == set(content["study"]["min_effect"])
    Plan.of(make_config(), {}, "digits", 3).write(tmp_path)
    assert plan.changes(tmp_path) == []


def test_plan_that_differs_from_the_written_one_is_refused_with_what_differs(tmp_path: Path) -> None:
    Plan.of(make_config(), {}, "digits", 3).write(tmp_path)
    changed = make_config(min_effect=make_config().min_effect.model_dump() | {"instability": 0.2})
    with pytest.raises(UserError, match=r"differs in digest, .*study\.min_effect\.instability"):
        Plan.of(changed, {}, "digits", 3).write(tmp_path)
    assert Plan.of(make_config(), {}, "digits", 4).changes(tmp_path) == ["digest", "seed"]


def test_plan_edited_after_the_run_began_is_reported(tmp_path: Path) -> None:
    plan = Plan.of(make_config(), {}, "digits", 3)
    plan.write(tmp_path)
    path = tmp_path / "plan.json"
    content = json.loads(path.read_text())
    content["study"]["min_effect"]["concealment"] = 0.5
    path.write_text(json.dumps(content))
    assert plan.changes(tmp_path) == ["study.min_effect.concealment"]
