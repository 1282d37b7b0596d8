"""An attack on five random images, evaluated by hand."""

from dataclasses import replace

import torch
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.data.human_labels import NOTHING
from cam_adv.metrics.distances import Distances
from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.metrics.evaluator import Predictions
from cam_adv.metrics.success import type1_verdict

NAMES = ("dots", "häuser", "wide stripes")
COUNT, LATENT_SIZE = 5, 3


def predictions(labels: list[int], codes: Tensor) -> Predictions:
    """All networks predict these labels with probability 1, and the judge reads them."""
    one_hot = torch.eye(3)[labels]
    return Predictions(
        victim=one_hot,
        judge=one_hot.clone(),
        members=one_hot.unsqueeze(1).clone(),
        plausibility=torch.ones(len(labels)),
        judge_reads=torch.tensor(labels),
        f2=one_hot.clone(),
        codes=codes,
        cam=None,
        member_names=("plain",),
    )


def attack_evaluation(channels: int = 1, size: tuple[int, int] = (8, 12)) -> AttackEvaluation:
    """Five images: the victim keeps y in 0, 2 and 3, the judge reads y' in 0, 1 and 3, so 0 and 3 succeed.

    In the last it reads nothing, although its likeliest class is y.
    """
    rng = torch.Generator().manual_seed(0)
    x, x_adv = (one.clone() for one in torch.rand(2, COUNT, channels, *size, generator=rng))
    z0, z = (one.clone() for one in torch.randn(2, COUNT, LATENT_SIZE, generator=rng))
    y, target = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([1, 2, 2, 0, 0])
    victim, judge = predictions([0, 2, 1, 1, 0], z), predictions([1, 2, 1, 0, 2], z)
    reads = torch.tensor([1, 2, 1, 0, NOTHING])
    steps = torch.tensor([2, 4, 0, 7, 8])
    result = AttackResult(
        x=x,
        x_adv=x_adv,
        y=y,
        target=target,
        start=torch.tensor([0, 0, 0, 1, 1]),
        steps=steps,
        diverged=steps < 0,
        terms={"J1 victim": torch.arange(15.0).reshape(5, 3) ** 2, "k": torch.full((5, 3), 0.5)},
        z0=z0,
        z=z,
        path=torch.zeros(COUNT, 3, LATENT_SIZE),
    )
    return AttackEvaluation(
        "type1",
        result,
        on_x=predictions(y.tolist(), z0),
        on_reconstruction=predictions(y.tolist(), z0),
        on_x_adv=replace(victim, judge=judge.judge, judge_reads=reads),
        verdict=type1_verdict(victim.victim, reads, y, target, 0.9),
        distances=Distances(*(torch.zeros(COUNT) for _ in range(9))),
        reconstruction=x.clone(),
        start_image=x.clone(),
        generated=x_adv.clone(),
        generated_reads=None,
    )
