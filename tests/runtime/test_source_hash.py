"""Digests of models and attacks: an edit of the code that makes them gives new ones, any other edit does not."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from conftest import ONE_THREAD, compose

import cam_adv
from cam_adv.attacks import runner
from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.config.compose import settings_from
from cam_adv.data.load import load_dataset
from cam_adv.data.selection import Selection
from cam_adv.data.splits import LabelledImages
from cam_adv.models.generators.svae import SVAE
from cam_adv.models.victims import LeNet
from cam_adv.runtime import source_hash as hashing
from cam_adv.runtime.source_hash import source_hash, targets_in
from cam_adv.training.model_zoo import ModelZoo

PACKAGE = Path(cam_adv.__file__).parent
ROLES = ("victim", "generator", "judge", "surrogates")
ATTACKS = ("type1", "pgd")

CLASSIFIERS = {
    "victim gap_cnn",
    "judge plain",
    "judge residual",
    "judge wide_kernel",
    "surrogate dense",
    "surrogate robust_mlp",
    "surrogate strided",
}
GENERATOR = {"generator svae_gan"}
MODELS = CLASSIFIERS | GENERATOR

Edit = tuple[str, str, str]
"""A file of the package, and the text in it that is replaced by another; an empty text stands for the file's end."""


def digests(overrides: Sequence[str]) -> dict[str, str]:
    """Of every model of the tiny run, and of the batches of two attacks with untrained networks."""
    forget_sources()
    settings = settings_from(compose(overrides))
    splits = load_dataset(settings.dataset)
    models = ModelZoo(splits, "tiny", Path("nowhere"), settings.hardware).models(settings.model, ROLES)
    found = {model.title: model.training.entry.digest for model in models.all() if model.training is not None}
    assert models.victim is not None
    assert models.generator is not None
    surrogates = [model.network for model in models.surrogates.values()]
    networks = AttackModels(
        models.victim.network, models.generator.network, surrogates, splits.validation, splits.train
    )
    selection = Selection(torch.arange(3), torch.zeros(3, dtype=torch.long), torch.ones(3, dtype=torch.long))
    for name in ATTACKS:
        attack = settings_from(compose([*overrides, f"attack={name}"])).attack
        found[name] = runner._digest(BoundAttack(attack, networks), splits.test, selection, "32-true", 128)
    return found


def forget_sources() -> None:
    """Files are read again."""
    for cached in (hashing._imported, hashing._code):
        cached.cache_clear()


@pytest.fixture(scope="module")
def small(tiny: list[str]) -> list[str]:
    """The overrides of the tiny run that every attack has, with few images to prepare the latent attack with."""
    return [override for override in tiny if not override.startswith("attack.")]


@pytest.fixture(scope="module")
def unedited(small: list[str]) -> dict[str, str]:
    """The digests of the package as it is."""
    return digests(small)


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Edit], None]:
    """Edits a file of a copy of the package, whose sources are hashed instead of the package's own."""
    shutil.copytree(PACKAGE, tmp_path / "cam_adv", ignore=shutil.ignore_patterns("__pycache__", "conf"))
    original = hashing._file_of

    def file_in_copy(module: str) -> Path | None:
        file = original(module)
        return tmp_path / "cam_adv" / file.relative_to(PACKAGE) if file and file.is_relative_to(PACKAGE) else file

    monkeypatch.setattr(hashing, "_file_of", file_in_copy)

    def edit(change: Edit) -> None:
        name, old, new = change
        file = tmp_path / "cam_adv" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new) if old else text + new)

    return edit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "renewed"),
    [
        (("training/svae_gan.py", '* f2 + terms["J_dec"]', '* f2 + 2 * terms["J_dec"]'), GENERATOR),
        (("models/generators/svae.py", 'reduction="none"', 'reduction="sum"'), GENERATOR | {*ATTACKS}),
        (("training/classifier.py", "        return loss\n", "        return 2 * loss\n"), CLASSIFIERS),
        (("training/step_generator.py", "", "\nOTHER = 1\n"), MODELS),
        (("data/augmentation.py", "", "\nOTHER = 1\n"), MODELS),
        (("models/blocks.py", "", "\nOTHER = 1\n"), MODELS | {*ATTACKS}),
        (("attacks/latent/objective.py", "", "\nOTHER = 1\n"), {"type1"}),
        (("attacks/latent/penalty.py", "", "\nOTHER = 1\n"), {"type1"}),
        (("attacks/latent/latent_density.py", "", "\nOTHER = 1\n"), {"type1"}),
        (("attacks/latent/search_space.py", "", "\nOTHER = 1\n"), {"type1"}),
        (("attacks/pgd.py", "", "\nOTHER = 1\n"), {"pgd"}),
        (("attacks/base.py", "", "\nOTHER = 1\n"), {*ATTACKS}),
        (("plots/filmstrip.py", "", "\nOTHER = 1\n"), set()),
        (("reports/files.py", "", "\nOTHER = 1\n"), set()),
        (("studies/attack/study.py", "", "\nOTHER = 1\n"), set()),
        (("config/settings.py", "", "\nOTHER = 1\n"), set()),
        (("training/classifier.py", "import torch\n", "import torch  # a comment\n\n"), set()),
        (("training/classifier.py", '"""Training any', '"""How to train any'), set()),
        (("training/classifier.py", '"""Gradient steps that', '"""Steps that'), set()),
        (("training/svae_gan.py", '"""Tang et al. 2019', '"""Tang 2019'), set()),
        (("attacks/latent/objective.py", "", '\n"""The end."""\n# a comment\n'), set()),
    ],
    ids=lambda value: " ".join(value[:1] + value[2:]).strip() if isinstance(value, tuple) else "",
)
def test_edit_renews_digests_of_what_the_code_makes(
    small: list[str], unedited: dict[str, str], edit: Callable[[Edit], None], change: Edit, renewed: set[str]
) -> None:
    edit(change)
    edited = digests(small)
    assert edited.keys() == unedited.keys() == MODELS | {*ATTACKS}
    assert {name for name in edited if edited[name] != unedited[name]} == renewed


@pytest.mark.slow
def test_copy_of_the_package_in_another_process_gives_the_same_digests(
    small: list[str], unedited: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "cam_adv", ignore=shutil.ignore_patterns("__pycache__", "conf"))
    conf = importlib.import_module("cam_adv.conf").__path__[0]
    (tmp_path / "cam_adv" / "conf").symlink_to(conf)
    script = (
        "import json, cam_adv; from test_source_hash import digests;"
        f"assert cam_adv.__file__.startswith({str(tmp_path)!r});"
        f"print(json.dumps(digests({small!r})))"
    )
    tests = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(str(folder) for folder in (tmp_path, tests, tests / "runtime"))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == unedited


def test_edit_of_own_penalty_renews_digest_of_the_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from cam_adv.attacks.latent.penalty import DualAscent\n\nclass Own(DualAscent):\n    pass\n"
    (tmp_path / "own_penalty.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    weights = ["attack.weights.surrogates=0", "attack.weights.density=0"]
    own = ["attack.penalty._target_=own_penalty.Own", "attack.init=[mean]", *weights]
    networks = AttackModels(LeNet(1, 3, (16, 16)), SVAE(1, 3, (16, 16), latent_size=2, width=2, hidden=4))
    attack = BoundAttack(settings_from(compose(own)).attack, networks)
    images = LabelledImages(torch.zeros(3, 1, 16, 16, dtype=torch.uint8), torch.zeros(3, dtype=torch.long))
    selection = Selection(torch.arange(3), images.labels, images.labels + 1)

    def digest() -> str:
        forget_sources()
        return runner._digest(attack, images, selection, "32-true", 128)

    first = digest()
    (tmp_path / "own_penalty.py").write_text(f"# A comment\n{code}")
    assert digest() == first
    (tmp_path / "own_penalty.py").write_text(f"{code}    limit = 3\n")
    assert digest() != first


class TestSourceHash:
    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
        """The hash of the function `f` of a module outside of the package, with this text."""
        monkeypatch.syspath_prepend(str(tmp_path))

        def hash_of(text: str) -> str:
            (tmp_path / "own_code.py").write_text(text)
            for cached in (hashing._file_of, hashing._imported, hashing._code):
                cached.cache_clear()
            sys.modules.pop("own_code", None)
            importlib.invalidate_caches()
            sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
            try:
                return source_hash(importlib.import_module("own_code").f)
            finally:
                sys.dont_write_bytecode = before

        return hash_of

    def test_own_module_other_code_gives_another_hash(self, module: Callable[[str], str]) -> None:
        first = module("def f(x):\n    return x\n")
        assert module("def f(x):\n    return 2 * x\n") != first
        assert module("def f(x):\n    return x\n\n\nA = 1\n") != first
        assert module("def f(x):\n    return x\n") == first

    def test_own_module_comments_docstrings_and_layout_do_not_count(self, module: Callable[[str], str]) -> None:
        first = module("A = 1\n\ndef f(x):\n    return x + 'text'\n")
        text = 'A = 1\n"""A variable."""\ndef f(x):\n    """A function."""\n    return (x +\n"text") # a comment\n'
        assert module(f'"""A module."""\n\n{text}') == first
        assert module("A = 1\n\ndef f(x):\n    return x + 'other'\n") != first

    def test_own_module_imports_of_the_package_count(self, module: Callable[[str], str]) -> None:
        """Also inside a function."""
        hashes = {
            module(f"def f(x):\n    import cam_adv.{name}\n    return x\n") for name in ("attacks.pgd", "attacks.ddn")
        }
        assert len(hashes) == 2

    def test_libraries_and_builtins_are_not_hashed(self) -> None:
        assert source_hash(torch.nn.Linear, torch.tanh, len) == source_hash()

    def test_order_of_arguments_does_not_count(self) -> None:
        assert source_hash(BoundAttack, ModelZoo) == source_hash(ModelZoo, BoundAttack)


def test_code_is_the_same_text_on_every_python(tmp_path: Path) -> None:
    """As Python 3.11 writes it: later ones leave empty fields out, and have one more of classes and functions."""
    file = tmp_path / "one.py"
    file.write_text('class A:\n    """Doc."""\n\n    def f(self) -> str:\n        return f"{self!r}"\n')
    value = "JoinedStr(values=[FormattedValue(value=Name(id='self', ctx=Load()), conversion=114)])"
    arguments = "arguments(posonlyargs=[], args=[arg(arg='self')], kwonlyargs=[], kw_defaults=[], defaults=[])"
    function = (
        f"FunctionDef(name='f', args={arguments}, body=[Return(value={value})], decorator_list=[], "
        "returns=Name(id='str', ctx=Load()))"
    )
    body = f"ClassDef(name='A', bases=[], keywords=[], body=[{function}], decorator_list=[])"
    assert hashing._code(file) == f"Module(body=[{body}], type_ignores=[])"


def test_targets_in_finds_nested_targets() -> None:
    config = {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "torch.nn.Linear", "in_features": 2}, {"other": {"_target_": "pathlib.Path"}}],
        "name": "no target",
    }
    assert list(targets_in(config)) == [torch.nn.Sequential, torch.nn.Linear, Path]
    assert list(targets_in({"a": 1, "b": [None, "text"]})) == []
