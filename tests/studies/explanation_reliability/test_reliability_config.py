"""Which settings of the study are refused."""

from typing import Any

import pytest
from conftest import compose
from pydantic import ValidationError
from reliability_config import CONTROLS, MATCHED, control, make_config

from cam_adv.config.compose import settings_from
from cam_adv.errors import UserError

ARM = {"attack": settings_from(compose(["attack=type1_cam"])).attack, "images": 6, "attributions": ["cam"]}


def test_matched_returns_the_names_of_matched_controls() -> None:
    assert make_config().matched == MATCHED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"victims": [0, 0]}, r"study.victims=\[0, 0\] names a seed twice"),
        ({"controls": {name: control(name, matched=False) for name in CONTROLS}}, "study.controls has no control"),
        ({"controls": {"attack": control("real_pair")}}, "study.controls.attack"),
        ({"controls": {"ink": control("real_pair")}}, "study.controls.ink"),
        ({"arms": {"attack": ARM}}, "study.arms.attack has the name"),
        (
            {"arms": {"other": ARM | {"attributions": ["cam", "saliency"]}}},
            "study.arms.other.attributions has saliency",
        ),
    ],
)
def test_config_inconsistent_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_config(**changes)


@pytest.mark.parametrize(
    "changes", [{"images": 1}, {"folds": 1}, {"targets": 0}, {"level": 1.0}, {"attributions": {}}, {"other": 1}]
)
def test_config_values_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_config(**changes)
