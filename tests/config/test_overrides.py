"""Overrides of a command line as keys and values."""

from cam_adv.config.overrides import parse_overrides, swept_keys


def test_parse_overrides_has_the_values_of_hydra() -> None:
    overrides = ["a=1", "++a.b=2.5e-1", "model/victim=mlp", "c=null", "d=true", "e=[1,2]", "f=${a}", "g='x, y'"]
    plain = {"a": 1, "a.b": 0.25, "model/victim": "mlp", "c": None, "d": True, "e": "[1,2]", "f": "${a}"}
    assert parse_overrides(overrides) == plain | {"g": "x, y"}


def test_swept_keys_are_those_with_several_values() -> None:
    assert swept_keys(["a=1", "b=1,2", "+c=range(3)", "d=[1,2]", "e=choice(x,y)"]) == ["b", "c", "e"]
