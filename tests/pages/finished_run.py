"""The folder of a finished attack on random pictures, with walks, as `study=attack` leaves it."""

import csv
import json
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from cam_adv.attacks.result import AttackResult
from cam_adv.metrics.funnel import QUESTIONS
from cam_adv.studies.attack.finished_attack import FigureData, FinishedAttack
from cam_adv.studies.attack.walks import Walks

NAMES = ("<b>dots</b>", '"häuser"', "wide </script> stripes")
ROWS, FRAMES, SIDE = 6, 5, 8
STEPS = [0, 10, 20, 30]
"""Recorded ones, of 30."""

Y = [0, 0, 1, 1, 2, 2]
TARGET = [1, 2, 0, 2, 0, 1]
JUDGE_READS = [1, 2, 0, -1, 2, 0]
"""In x': three successes, then nothing, y, and another class."""

VICTIM = [0.95, 0.995, 0.9995, 0.91, 0.93, 0.97]
"""Probability of y for x'."""

LENGTHS = [5, 5, 3, 5, 5, 5]


def probs(label: Tensor, share: Tensor, classes: int) -> Tensor:
    """Probabilities `(…, K)` that are `share` for one label and equal for the others."""
    others = ((1 - share) / (classes - 1)).unsqueeze(-1).expand(*share.shape, classes).clone()
    return others.scatter(-1, label.unsqueeze(-1), share.unsqueeze(-1))


def make_run(
    folder: Path,
    kind: str = "type1",
    channels: int = 1,
    codes: bool = True,
    residual: bool = True,
    cam: bool = True,
    from_samples: bool = False,
    abstained: bool = False,
    names: tuple[str, ...] = NAMES,
) -> FinishedAttack:
    """Write the run's files into a new folder. Row 2 has stopped early; in row 5 a term is not finite."""
    generator, classes = torch.Generator().manual_seed(0), len(names)
    y, target, reads = torch.tensor(Y), torch.tensor(TARGET), torch.tensor(JUDGE_READS)
    walk = torch.rand(ROWS, FRAMES, channels, SIDE, SIDE, generator=generator)
    walk[2, 2:] = walk[2, 2:3]
    share = torch.linspace(0.9, 0.02, FRAMES).repeat(ROWS, 1)
    share[:, -1] = torch.tensor(VICTIM)
    victim = probs(y.unsqueeze(1).expand(-1, FRAMES), share, classes)
    seen = torch.where(reads < 0, target, reads).unsqueeze(1).expand(-1, FRAMES)
    judge = probs(seen, torch.linspace(0.4, 0.8, FRAMES).repeat(ROWS, 1), classes)
    f2 = probs(target.unsqueeze(1).expand(-1, FRAMES), torch.full((ROWS, FRAMES), 0.7), classes)
    term = torch.arange(ROWS * (FRAMES - 1)).reshape(ROWS, -1).float()
    term[5, 1] = torch.nan
    result = AttackResult(
        x=walk[:, 0],
        x_adv=walk[:, -1],
        y=y,
        target=target,
        start=torch.tensor([0, 0, 0, 1, 1, 1]),
        steps=torch.tensor([30, 25, 15, 60, 60, 60]),
        diverged=torch.zeros(ROWS, dtype=torch.bool),
        terms={"J1 victim": term, "own": term + 0.5},
        z0=torch.zeros(ROWS, 2),
        z=torch.ones(ROWS, 2),
        path=torch.zeros(ROWS, FRAMES - 1, 2) if codes else None,
        residual_path=torch.zeros(ROWS, FRAMES - 1, channels, SIDE, SIDE) if codes and residual else None,
    )
    success = torch.tensor([True, True, True, False, False, False])
    tensors = result.tensors() | {
        "index": 10 * torch.arange(ROWS),
        "victim_probs": victim[:, -1].clone(),
        "judge_probs": judge[:, -1].clone(),
        "judge_reads": reads,
    }
    robust = torch.randn(ROWS, FRAMES, 3, 3, generator=torch.Generator().manual_seed(1)) if abstained else None
    if robust is not None:
        robust[1, 2:] = torch.nan
        for suffix, images in (("x", walk[:, 0]), ("x_adv", walk[:, -1])):
            shown = {name: images.clone() for name in ("as_y", "as_target")}
            shown |= {"robust": images.mean(dim=1), "abstained": torch.zeros(ROWS, dtype=torch.bool)}
            tensors |= {f"{name}_{suffix}": value for name, value in shown.items()}
        tensors["abstained_x_adv"][1] = True
    folder.mkdir()
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "attack.safetensors")
    FigureData(
        examples=[],
        success=success,
        victim_keeps=torch.full((ROWS,), kind == "type1"),
        steps=30,
        start_names=["mean", "real_image"],
        every_pair=False,
        trainings={},
        walks=Walks(
            rows=torch.arange(ROWS),
            lengths=torch.tensor(LENGTHS if codes else [FRAMES] * ROWS),
            images=(255 * walk).byte(),
            victim=victim,
            judge=judge,
            judge_reads=reads.unsqueeze(1).expand(-1, FRAMES).clone(),
            points=torch.arange(FRAMES - 1) if codes else None,
            residuals=(255 * walk.flip(1)).byte() if codes and residual else None,
            f2=f2 if codes else None,
            cams=torch.randn(ROWS, FRAMES, 2, 3, 3, generator=generator) if cam else None,
            robust=robust,
        ),
    ).write(folder)
    rates = {name: {"rate": 0.5, "low": 0.25, "high": 0.75} for name in QUESTIONS}
    summary = {"kind": kind, "class_names": names, "warnings": [], "victim_accuracy": 0.97, **rates}
    (folder / "summary.json").write_text(json.dumps(summary | ({"x": "sample of y'"} if from_samples else {})))
    config = {"attack": {"name": "type1", "confidence": 0.9}, "dataset": {"name": "</pre><script>alert(1)</script>"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "overrides.yaml").write_text(yaml.safe_dump(["attack=type1", "name='a b'"]))
    with (folder / "results.csv").open("w", newline="") as file:
        columns = ["index", "y", "target", "victim_x_adv", "victim_x_adv_confidence", "judge_reads_x_adv", "success"]
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in range(ROWS):
            read = "nothing" if JUDGE_READS[row] < 0 else names[JUDGE_READS[row]]
            said = names[Y[row]]
            writer.writerow([10 * row, said, names[TARGET[row]], said, VICTIM[row], read, int(success[row])])
    return FinishedAttack.load(folder)
