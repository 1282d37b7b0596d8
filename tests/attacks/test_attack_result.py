"""The result of an attack: as a file, in rows and joined."""

from pathlib import Path

import pytest
import torch

from cam_adv.attacks.result import AttackResult, concatenate
from cam_adv.runtime.tensor_files import load_tensors, save_tensors


def attack_result(*, with_codes: bool, with_residual: bool = False, rows: int = 3) -> AttackResult:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(rows, *shape, generator=generator)

    numbers = torch.arange(rows)
    return AttackResult(
        x=draw(1, 4, 4),
        x_adv=draw(1, 4, 4),
        y=numbers,
        target=numbers + 1,
        start=numbers * 0,
        steps=numbers + 10,
        diverged=numbers == 1,
        terms={"J1 victim": draw(6), "k": draw(6)},
        z0=draw(2) if with_codes else None,
        z_start=draw(2) if with_codes else None,
        z=draw(2) if with_codes else None,
        path=draw(6, 2) if with_codes else None,
        residual_path=draw(6, 1, 4, 4) if with_residual else None,
    )


@pytest.fixture(params=[(True, True), (True, False), (False, False)], ids=["residual", "latent", "pixel"])
def result(request: pytest.FixtureRequest) -> AttackResult:
    with_codes, with_residual = request.param
    return attack_result(with_codes=with_codes, with_residual=with_residual)


def assert_equal(result: AttackResult, other: AttackResult) -> None:
    assert result.tensors().keys() == other.tensors().keys()
    for name, value in result.tensors().items():
        assert torch.equal(value, other.tensors()[name]), name


def test_file_gives_the_same_result(result: AttackResult, tmp_path: Path) -> None:
    save_tensors(result.tensors(), tmp_path / "attack.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"attack.safetensors"}
    assert_equal(AttackResult.from_tensors(load_tensors(tmp_path / "attack.safetensors")), result)


def test_from_tensors_ignores_other_names(result: AttackResult) -> None:
    assert_equal(AttackResult.from_tensors(result.tensors() | {"judge_probs": torch.zeros(3)}), result)


def test_from_tensors_without_a_column_raises(result: AttackResult) -> None:
    tensors = result.tensors()
    del tensors["x_adv"]
    with pytest.raises(KeyError, match="x_adv"):
        AttackResult.from_tensors(tensors)


def test_concatenate_joins_slices(result: AttackResult) -> None:
    assert len(result) == 3
    assert len(result[1:]) == 2
    assert_equal(concatenate([result[:1], result[1:]], len(result)), result)


def test_trace_points_is_the_number_of_recorded_steps(result: AttackResult) -> None:
    assert result.trace_points == 6


def test_pixel_result_has_no_codes() -> None:
    result = attack_result(with_codes=False)
    assert (result.z0, result.z_start, result.z, result.path, result.residual_path) == (None,) * 5
    assert not {"z0", "z_start", "z", "path", "residual_path"} & result.tensors().keys()


def test_latent_result_without_residual_has_codes_alone() -> None:
    names = attack_result(with_codes=True).tensors().keys()
    assert {"z0", "z_start", "z", "path"} <= names
    assert "residual_path" not in names
