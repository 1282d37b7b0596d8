"""Folders that are no finished attack are refused in two sentences."""

from pathlib import Path

import pytest
import torch
from attacked_folder import attack_tensors, save_attack

from cam_adv.errors import UserError
from cam_adv.studies.reading.attacked_run import load_attacked_run


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_attacked_run(folder)
    assert error.value.remedy == "Make one anew with cam-adv, and give its folder."
    assert error.value.what.startswith(f"run={folder} ")
    assert error.value.what.endswith(", so it is no finished attack whose pictures can be read.")
    return error.value.what


@pytest.mark.parametrize("name", ["attack.safetensors", "summary.json"])
def test_folder_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = save_attack(tmp_path / "attack")
    (folder / name).unlink()
    assert "has no summary.json or no attack.safetensors" in refusal(folder)


@pytest.mark.parametrize("name", ["attack.safetensors", "summary.json"])
def test_folder_with_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = save_attack(tmp_path / "attack")
    (folder / name).write_bytes(b"\xff{")
    assert "can't be read" in refusal(folder)


@pytest.mark.parametrize("name", ["x", "x_adv", "reconstruction", "y", "target", "judge_reads", "cluster"])
def test_run_without_a_tensor_is_refused(tmp_path: Path, name: str) -> None:
    tensors = attack_tensors()
    del tensors[name]
    assert f"doesn't tell {name}, so" in refusal(save_attack(tmp_path / "attack", tensors))


def test_summary_of_an_earlier_version_is_refused(tmp_path: Path) -> None:
    folder = save_attack(tmp_path / "attack")
    for content in ("{}", "[]"):
        (folder / "summary.json").write_text(content)
        assert "doesn't tell class_names, kind, so" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x", torch.zeros(11, 1, 4, 4)),
        ("x_adv", torch.zeros(12, 1, 5, 5)),
        ("x_adv", torch.zeros(12, 1, 4, 4, dtype=torch.uint8)),
        ("start_image", torch.zeros(12, 3, 4, 4)),
        ("y", torch.full((12,), 3)),
        ("target", torch.full((12,), -1)),
        ("judge_reads", torch.full((12,), -2)),
        ("judge_reads", torch.full((12,), 3)),
        ("cluster", torch.zeros(12)),
        ("cluster", torch.zeros(11, dtype=torch.int64)),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(tmp_path: Path, name: str, value: torch.Tensor) -> None:
    folder = save_attack(tmp_path / "attack", attack_tensors() | {name: value})
    assert "has images and labels that don't fit together" in refusal(folder)


def test_pixels_stay_as_they_are(tmp_path: Path) -> None:
    run = load_attacked_run(save_attack(tmp_path / "attack"))
    for kind, images in run.images.items():
        assert torch.equal(images, attack_tensors()[kind])
