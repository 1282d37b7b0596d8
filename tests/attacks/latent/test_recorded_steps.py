"""Steps that are recorded and repeated give bit for bit what they give one by one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from random_networks import TARGET, Y, bind, images, make_attack
from tape import TapeRecorder

from cam_adv.attacks.base import BoundAttack
from cam_adv.attacks.latent import attack as latent_attack
from cam_adv.attacks.latent.pace import CPU, GPU, Pace, pace_on
from cam_adv.attacks.latent.recorded_steps import CUDAGraphRecorder, RecordedSteps
from cam_adv.attacks.result import AttackResult


def at_pace(bound: BoundAttack, pace: Pace, monkeypatch: pytest.MonkeyPatch) -> AttackResult:
    monkeypatch.setattr(latent_attack, "pace_on", lambda device, cuda_graphs: pace)
    return bound(images(), Y, TARGET)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("type1", {}),
        ("type1", {"early_stop_prob": 0.15, "confidence": 0.15, "steps": 40}),
        ("type1", {"init": ["mean", "real_image"], "proxies_per_step": 2, "strength": 0.5}),
        ("type1_cam", {}),
        ("type1_robust", {}),
        ("type1_latent", {}),
        ("type2_latent", {}),
        ("tang2018", {}),
    ],
)
def test_recorded_steps_equal_steps_one_by_one(
    name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, recorder = bind(make_attack(name, **changes)), TapeRecorder()
    plain = at_pace(bound, Pace(3, 2, None), monkeypatch).tensors()
    recorded = at_pace(bound, Pace(3, 2, recorder), monkeypatch).tensors()
    assert recorder.recordings > 0
    assert recorder.replays > recorder.recordings
    assert plain.keys() == recorded.keys()
    for name, tensor in plain.items():
        assert torch.equal(tensor, recorded[name]), name


def test_stopped_samples_change_nothing_while_they_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU they leave the batch at once, which may change the last bits of the others."""
    bound = bind(make_attack("type1", early_stop_prob=0.15, confidence=0.15, steps=40))
    active: list[int] = []
    bound(images(), Y, TARGET, lambda step, left: active.append(left))
    assert len(set(active)) > 2
    left_out = at_pace(bound, CPU, monkeypatch).tensors()
    computed = at_pace(bound, Pace(7, None, None), monkeypatch).tensors()
    for name, tensor in left_out.items():
        assert torch.allclose(tensor.double(), computed[name].double(), atol=1e-6), name


def test_network_that_looks_at_its_values_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    bound, recorder = bind(make_attack()), TapeRecorder()
    plain = at_pace(bound, CPU, monkeypatch).tensors()
    victim = bound.models.victim
    victim.register_forward_pre_hook(lambda module, inputs: inputs[0].sum().item() and None)
    looked = at_pace(bound, Pace(3, 2, recorder), monkeypatch).tensors()
    assert recorder.recordings == 0
    assert all(torch.equal(tensor, looked[name]) for name, tensor in plain.items())


def test_each_kind_is_called_once_then_recorded_and_repeated() -> None:
    done: list[str] = []

    class Recorder:
        def waits(self, work: Callable[[], None]) -> bool:
            work()
            return False

        def record(self, work: Callable[[], None]) -> Callable[[], None]:
            done.append("recorded")
            return lambda: done.append("repeated")

    steps = RecordedSteps(lambda: done.append("called"), Recorder())
    for kind in ("a", "b", "b", "b", "a"):
        steps(kind)
    assert done == ["called", "called", "recorded", "repeated", "repeated", "recorded", "repeated"]
    steps.forget()
    steps("b")
    assert done[-1] == "called"


def test_pace_of_a_cpu_has_no_recorder_and_looks_at_each_step() -> None:
    assert pace_on(torch.device("cpu"), cuda_graphs=True) == CPU
    assert pace_on(torch.device("cuda"), cuda_graphs=False) == GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["type1", "type1_cam", "type1_robust", "type1_latent", "tang2018"])
def test_cuda_graphs_give_what_steps_one_by_one_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = 0
    record = CUDAGraphRecorder.record

    def count(self: CUDAGraphRecorder, work: Callable[[], None]) -> Callable[[], None]:
        nonlocal recorded
        recorded += 1
        return record(self, work)

    monkeypatch.setattr(CUDAGraphRecorder, "record", count)
    given = [tensor.cuda() for tensor in (images(torch.float32), Y, TARGET)]
    results = [
        bind(make_attack(name, steps=30, cuda_graphs=cuda_graphs), torch.float32).cuda()(*given).tensors()
        for cuda_graphs in (True, False)
    ]
    assert recorded > 0
    for column, tensor in results[0].items():
        assert torch.allclose(tensor.double(), results[1][column].double(), atol=1e-3), column
