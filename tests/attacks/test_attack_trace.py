"""The steps that are recorded."""

from cam_adv.attacks.trace import evenly_spaced


def test_evenly_spaced_includes_both_ends() -> None:
    assert evenly_spaced(500, 6) == [0, 100, 200, 300, 400, 500]


def test_evenly_spaced_with_fewer_numbers_than_asked_returns_all() -> None:
    assert evenly_spaced(3, 25) == [0, 1, 2, 3]
