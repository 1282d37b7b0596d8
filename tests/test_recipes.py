"""The commands of the pages, word for word: each is composed and checked, and the recipes run on tiny settings."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import AttackRun, run_in_process
from torch import nn

from cam_adv import api
from cam_adv.config.compose import settings_from
from cam_adv.config.composition import compose
from cam_adv.results.result import jobs_of

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "conf/README.md", "cam_adv/README.md", "outputs/example/README.md")
NETWORK = """
from torch import nn

class MyNet(nn.Sequential):
    def __init__(self, in_channels, num_classes):
        maps = nn.Conv2d(in_channels, 8, 3), nn.ReLU()
        super().__init__(*maps, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
"""


def text_of(page: str) -> str:
    """A page, without the section whose examples `test_extending` runs."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"\n## Extending\n.*?(?=\n## )", "", text, flags=re.DOTALL)


def commands() -> Iterator[str]:
    """Every command `cam-adv` with overrides, in blocks of shell and in tables."""
    for page in PAGES:
        blocks = re.findall(r"```bash\n(.*?)```", text_of(page), re.DOTALL)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        for line in [*lines, *re.findall(r"^\|.*?`(cam-adv [^`]*)` *\|$", text_of(page), re.MULTILINE)]:
            if line.startswith("cam-adv "):
                yield line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with the modules that the recipes name."""
    folder = tmp_path_factory.mktemp("user")
    (decoder,) = re.findall(
        r"```python\n(import torch\n\n\nclass MyDecoder.*?)```", text_of("conf/README.md"), re.DOTALL
    )
    (folder / "my_decoder.py").write_text(decoder)
    (folder / "my_net.py").write_text(NETWORK)
    return folder


def test_commands_of_all_pages_are_found() -> None:
    found = set(commands())
    assert len(found) > 35
    assert {"cam-adv study=min_perturbation", "cam-adv resume=latest"} <= found


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_command_can_be_used(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    for job in jobs_of([word for word in shlex.split(command)[1:] if word != "-m"]):
        settings_from(compose(job))


def without(tiny: Sequence[str], *keys: str) -> list[str]:
    return [override for override in tiny if not override.startswith(keys)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "replaced", "further"),
    [
        (
            "model/victim=own model.victim.network._target_=my_net.MyNet",
            ("model/victim", "model.victim.network"),
            ("selection.images=6",),
        ),
        (
            "model/generator=own model.generator.network.decoder._target_=my_decoder.MyDecoder",
            ("model/generator", "model.generator"),
            ("model.generator.training.head_epochs=2", "model.generator.training.batch_size=16"),
        ),
    ],
)
def test_recipe_runs(
    recipe: str,
    replaced: tuple[str, ...],
    further: tuple[str, ...],
    folder: Path,
    tiny: list[str],
    attack_run: AttackRun,
) -> None:
    assert f"cam-adv {recipe}" in set(commands())
    outputs = f"outputs={attack_run.root / 'outputs'}"
    overrides = [*without(tiny, *replaced), *shlex.split(recipe), *further, outputs]
    answer = run_in_process(overrides, folder)
    assert answer.code == 0, answer.err
    assert "success: the victim" in answer.out


def test_recipe_in_python_runs(tiny: list[str], attack_run: AttackRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """With images of the dataset, and with a network that says of each what its mean pixel is."""
    (code,) = re.findall(r"```python\n(.*?)```", text_of("README.md"), re.DOTALL)

    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(1, 2, 3)).unsqueeze(1) * torch.tensor([[10.0, 20.0, -30.0]])

    context = api.load(*tiny, f"outputs={attack_run.root / 'outputs'}")
    monkeypatch.setattr(api, "load", lambda *overrides: context)
    images = context.splits.test[torch.arange(5)]
    names: dict[str, Any] = {"my_net": Mean(), "x": images.images / 255, "y": images.labels}
    names["target"] = (names["y"] + 1) % 3
    exec(code, names)
    assert len(names["result"].to_pandas()) == 5
    assert "data:image/png" in names["result"]._repr_html_()
