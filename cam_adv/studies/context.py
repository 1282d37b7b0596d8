"""What a study works with: images, trained networks on their device, attacks, the run's folder and the seed."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cam_adv.attacks.base import Attack, AttackModels, BoundAttack
from cam_adv.attacks.result import AttackResult
from cam_adv.attacks.runner import run_attack
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.attributions.robust import RobustInterpretation
from cam_adv.data.pixels import to_unit_range
from cam_adv.data.selection import Selection
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.errors import UserError
from cam_adv.metrics.active_latents import collapse_warning, count_active_latents
from cam_adv.metrics.evaluation import evaluate_attack
from cam_adv.metrics.evaluator import Evaluator
from cam_adv.models.generators.base import Generator
from cam_adv.models.judge import Judge
from cam_adv.models.modes import eval_mode
from cam_adv.models.predictions import batched_apply
from cam_adv.plots.drawing import Drawing
from cam_adv.reports.shown_attack import ShownAttack
from cam_adv.runtime.atomic_files import write_json
from cam_adv.runtime.devices import main_device
from cam_adv.runtime.run_dir import BATCHES
from cam_adv.schema.attribution import RobustSettings
from cam_adv.schema.run import RunSettings
from cam_adv.training.model_zoo import ModelHandle, ModelSet, ModelZoo

log = logging.getLogger(__name__)


def one_of_each_class(data: LabelledImages) -> Tensor:
    """The first image of each class that there is, `(n, C, H, W)` in [0, 1], to find a layer with."""
    rows = [int((data.labels == label).nonzero()[0]) for label in data.labels.unique()]
    return to_unit_range(data.images[rows])


@dataclass(frozen=True)
class StudyContext:
    """Images and trained models for a study, and for a notebook (`cam_adv.api.load`).

    It owns the devices: a network that it returns is in evaluation mode on the device of the run, wherever a Trainer
    has left it.

    settings, attack: of the config.
    models: by role, those that the study needs. further_models: see `Study.build_models`.
    zoo: makes and trains more.
    folder: of this run alone.
    overrides: what the command line set, which tells runs apart where they are compared.
    """

    settings: RunSettings
    attack: Attack
    splits: ImageSplits
    models: ModelSet
    zoo: ModelZoo
    folder: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    further_models: Mapping[str, ModelHandle] = field(default_factory=dict)
    explaining_victims: Mapping[int, ModelHandle] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where networks predict."""
        return main_device(self.settings.hardware)

    @property
    def victim(self) -> nn.Module:
        """f1."""
        return self.network(self.models.victim)

    @property
    def generator(self) -> Generator:
        """G, f2 and D."""
        network = self.network(self.models.generator)
        assert isinstance(network, Generator)  # the zoo has made sure of it
        return network

    @property
    def surrogates(self) -> list[nn.Module]:
        """Image classifiers that stand in for a person in an attack."""
        return [self.network(model) for model in self.models.surrogates.values()]

    @cached_property
    def judge(self) -> Judge:
        """The independent judge, its thresholds from validation images."""
        settings = self.settings.model.judge
        members = {name: self.network(model) for name, model in self.models.judge.items()}
        log.info("Fitting the judge on %d images that no member was trained on.", len(self.splits.validation))
        judge = Judge(members, settings.level, settings.neighbours, settings.references)
        return judge.fit(self.splits.train, self.splits.validation, self.device)

    @cached_property
    def drawing(self) -> Drawing:
        """What draws the run's figures into `figures/`; nothing with `figures=false`."""
        return Drawing(self.folder / "figures", bool(self.settings.figures), self.settings.debug)

    def prepare(self) -> list[ModelHandle]:
        """Load or train all models; which they are."""
        models = [*self.models.all(), *self.further_models.values(), *self.explaining_victims.values()]
        self.zoo.prepare(models, self.settings.retrain)
        return models

    def network(self, model: ModelHandle | None) -> nn.Module:
        """A model's network, on the device."""
        if model is None:
            raise ValueError("the study has not named this role in `roles`")
        return model.network.to(self.device)

    def bind(self, attack: Attack | None = None, victim: nn.Module | None = None) -> BoundAttack:
        """An attack with the networks that it names in its `roles`.

        Args:
            attack: that of the config where None.
            victim: the study's where None.

        Raises:
            UserError: the victim fails a check that one of the config passes.
        """
        attack = attack or self.attack
        models = AttackModels(
            self._checked(victim),
            self.generator if "generator" in attack.roles else None,
            self.surrogates if "surrogates" in attack.roles else [],
            self.splits.validation,  # they trained neither the generator nor the judge
            self.splits.train,
            None if (known := attack.attacked_interpretation) is None else self.interpretation(known, victim),
        )
        return BoundAttack(attack, models, self.settings.seed)

    def run_attack(
        self, attack: BoundAttack, selection: Selection, data: LabelledImages | None = None
    ) -> AttackResult:
        """Attack selected images of the test set, or of other `data`; an interrupted attack goes on."""
        return self.timed_attack(attack, selection, data)[0]

    def timed_attack(
        self, attack: BoundAttack, selection: Selection, data: LabelledImages | None = None
    ) -> tuple[AttackResult, float]:
        """`run_attack`, and how many seconds had gone into what an interrupted attack had done."""
        data = self.splits.test if data is None else data
        return run_attack(attack, data, selection, self.settings.hardware, self.folder / BATCHES)

    def evaluator(self, victim: nn.Module | None = None) -> Evaluator:
        """The networks that evaluate an attack on a victim, the study's where None."""
        images = one_of_each_class(self.splits.test)
        return Evaluator.build(self._checked(victim), self.judge, self.generator, images, self.device)

    def evaluate(self, attack: BoundAttack, result: AttackResult) -> ShownAttack:
        """What victim and judge say of an attack's result: rates, pictures in a notebook, and a table of pandas.

        Raises:
            UserError: the attack's victim fails a check that one of the config passes.
        """
        on_cpu = AttackResult.from_tensors({name: value.cpu() for name, value in result.tensors().items()})
        evaluator = self.evaluator(attack.models.victim)
        evaluation = evaluate_attack(attack.attack, on_cpu, evaluator, self.splits)
        return ShownAttack(attack.attack.name, evaluation, attack.attack.start_names, self.splits.class_names)

    def layer_target(self, victim: nn.Module | None = None) -> LayerTarget:
        """The layer of a victim, the study's where None, at which its exact CAM is found.

        Raises:
            UserError: it has no exact CAM.
        """
        images = one_of_each_class(self.splits.test).to(self.device)
        return LayerTarget.with_exact_cam(self._checked(victim), images)

    @torch.inference_mode(False)
    def interpretation(
        self, settings: RobustSettings | None = None, victim: nn.Module | None = None
    ) -> RobustInterpretation:
        """A robust interpretation of a victim, the study's where None, fitted on validation images.

        Args:
            settings: those of the config (`attribution=robust`) where None; its victims are in `explaining_victims`.

        Raises:
            UserError: the config has none; or there are too few validation images.
        """
        settings = settings or next(
            (one for one in self.settings.attribution.values() if isinstance(one, RobustSettings)), None
        )
        if settings is None:
            raise UserError("The config has no robust interpretation.", "Load it with attribution=robust.")
        interpretation = RobustInterpretation(
            [self.network(self.explaining_victims[seed]) for seed in settings.victims],
            self.generator,
            one_of_each_class(self.splits.test).to(self.device),
            samples=settings.samples,
            spread=settings.spread,
            level=settings.level,
            seed=settings.seed,
        )
        validation = self.splits.validation
        return interpretation.fit(validation[self.correct(validation, victim)])

    def no_claim(self) -> str:
        """The end of a study's heading where the generator's posterior has collapsed, after a sentence; else ""."""
        active = count_active_latents(self.generator, self.splits.validation.images, self.device)
        if active:
            return ""
        print(collapse_warning(active, self.generator.latent_size))
        return ": no claim, for the reason above"

    def correct(self, data: LabelledImages, victim: nn.Module | None = None) -> Tensor:
        """Which images a victim, the study's where None, classifies correctly: `(N,)`."""
        network = self._checked(victim)
        with eval_mode(network):
            return batched_apply(network, data.images, self.device).argmax(dim=1) == data.labels

    def _checked(self, victim: nn.Module | None) -> nn.Module:
        """A victim on the device, the study's where None; your own if it passes the checks of a config's victim."""
        return self.victim if victim is None else self.zoo.check_victim(victim).to(self.device)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write `<name>.json` into the run's folder; that of the study's own name is its result."""
        write_json(self.folder / f"{name}.json", content)
