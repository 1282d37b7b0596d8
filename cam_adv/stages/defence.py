"""Stage "defence": what does adversarial training do against each kind of attack?

Against Type II the victim is trained on images that are perturbed against itself at every step (Madry et al. 2018),
by the `adversarial_radius` of its training. A Type I picture takes a walk of hundreds of steps, so such pictures are
made once, against the plain victim, and added to the training images.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from cam_adv.attack.batches import walk_batches
from cam_adv.attack.result import AttackResult, save_tensors
from cam_adv.attack.selection import Selection
from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.defence.design import to_test_with, to_train_with
from cam_adv.defence.pictures import as_training_images, with_added
from cam_adv.defence.table import NONE, DefenceTable
from cam_adv.evaluation.assessment import judge
from cam_adv.evaluation.intervals import wilson
from cam_adv.evaluation.opinions import Witnesses
from cam_adv.evaluation.verdict import Verdict
from cam_adv.explanation.subject import Subject
from cam_adv.hardware.devices import main_device
from cam_adv.networks.predictions import in_batches, unit
from cam_adv.report import files, terminal
from cam_adv.report.defence import defence_content, draw_defence, print_defence
from cam_adv.run_folder import BATCHES
from cam_adv.settings import AnyAttack, ModelSettings, Settings
from cam_adv.toolbox import Toolbox
from cam_adv.training.workshop import Models, Workshop


def run(settings: Settings, splits: ImageSplits, workshop: Workshop, folder: Path, config: str) -> None:
    """Train the victim anew against Type I, against Type II and against both, and attack every victim.

    The attacks know their victim: each is made against each victim anew.

    Args:
        workshop: of these splits.
        folder: of this run alone.
        config: the resolved config, for the folder's `config.yaml`.

    Raises:
        UserError: something that the user can mend; before anything is trained, as far as that can be known.
    """
    plan, test = settings.defence, splits.test
    # Of a perfect victim every image would be attacked: what even that can't serve is said before training.
    to_train_with(settings, splits, torch.ones(len(splits.train), dtype=torch.bool))
    to_test_with(settings, splits, torch.ones(len(test), dtype=torch.bool))
    attacks = settings.attacks.values()
    models = workshop.models(settings.model, "attack", any(attack.asks_surrogates for attack in attacks))
    if any(attack.holds_map for attack in attacks):
        Subject.with_exact_cam(_network(models), unit(test.images[:8]))  # refuses a victim without one
    files.claim(folder, config)
    workshop.prepare(models.all(), settings.retrain)
    stage = _Stage(settings, splits, folder)
    cast = {NONE: models} | stage.retrained(models, workshop)
    retrained = [other.victim for training, other in cast.items() if training != NONE]
    terminal.print_models([*models.all(), *retrained])

    right = {training: stage.right(one, test) for training, one in cast.items()}
    selections = to_test_with(settings, splits, torch.stack(list(right.values())).all(dim=0))
    verdicts = {
        training: {name: stage.tested(training, one, name, selection) for name, selection in selections.items()}
        for training, one in cast.items()
    }
    accuracy = {training: wilson(int(answers.sum()), len(answers)) for training, answers in right.items()}
    kinds = {name: attack.kind for name, attack in plan.attacks.items()}
    table = DefenceTable.of(accuracy, verdicts, kinds, plan.matters)
    heading = f"{settings.model.victim.name} on {settings.dataset.name}, adversarially trained"
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    draw_defence(table, heading, figures / "defence.png")
    files.write_summary(defence_content(table), folder / "defence.json")
    print_defence(table, heading)
    terminal.print_paths(folder, settings.outputs)


PICTURES = "pictures.safetensors"
"""Of the training attack: 8-bit images, labels y', and the positions of the training images they were made of."""


@dataclass(frozen=True)
class _Stage:
    """What is the same for every victim."""

    settings: Settings
    splits: ImageSplits
    folder: Path

    def right(self, models: Models, data: LabelledImages) -> Tensor:
        """Which images the victim classifies correctly, `(N,)`."""
        device = main_device(self.settings.hardware)
        return in_batches(_network(models).to(device), data.images, device).argmax(dim=1) == data.labels

    def attack(self, models: Models, attack: AnyAttack, data: LabelledImages, selection: Selection) -> AttackResult:
        """What an attack makes of selected images against these models' victim."""
        tools = Toolbox.of(self.settings, self.splits, models)
        batches = self.folder / BATCHES
        return walk_batches(tools.attack(attack), data, selection, self.settings.hardware, batches)

    def retrained(self, models: Models, workshop: Workshop) -> dict[str, Models]:
        """By training, the same models with a victim that was trained against what the training names."""
        plan = self.settings.defence
        cast, enlarged = {}, workshop
        if {"type1", "both"} & set(plan.trainings):
            splits = with_added(self.splits, self.pictures(models), plan.share)
            enlarged = replace(workshop, splits=splits, dataset=f"{workshop.dataset}+type1")
        for training in plan.trainings:
            settings, own = self.settings.model, enlarged if training in ("type1", "both") else workshop
            if training in ("type2", "both"):
                settings = _adversarially_trained(settings, plan.adversarial_radius)
            victim = own.models(settings, "victim", with_surrogates=False).victim
            assert victim is not None  # the stage asks for it
            own.prepare([victim], self.settings.retrain)
            cast[training] = replace(models, victim=replace(victim, title=f"{victim.title}, {training}"))
        return cast

    def pictures(self, models: Models) -> LabelledImages:
        """What the training attack makes of training images against the plain victim."""
        plan, train = self.settings.defence, self.splits.train
        selection = to_train_with(self.settings, self.splits, self.right(models, train))
        pictures = as_training_images(self.attack(models, plan.train, train, selection))
        save_tensors({"index": selection.index, **vars(pictures)}, self.folder / PICTURES)
        return pictures

    def tested(self, training: str, models: Models, name: str, selection: Selection) -> Verdict:
        """Attack a victim, let the judge look, and keep the tensors."""
        attack, device = self.settings.defence.attacks[name], main_device(self.settings.hardware)
        result = self.attack(models, attack, self.splits.test, selection)
        tools = Toolbox.of(self.settings, self.splits, models)
        few = self.splits.test.images[:8]
        opinions = Witnesses.call(tools.victim, tools.judge, tools.generator, few, device).ask(result.x_adv, result.z)
        verdict = judge(attack, result, opinions)
        tensors = {"index": selection.index, "victim_probs": opinions.victim, "judge_probs": opinions.judge}
        tensors |= {field: getattr(result, field) for field in ("x", "x_adv", "y", "target")}
        save_tensors(tensors | vars(verdict), self.folder / f"{training}_{name}.safetensors")
        return verdict


def _network(models: Models) -> nn.Module:
    assert models.victim is not None  # the stage asks for it
    return models.victim.network


def _adversarially_trained(settings: ModelSettings, radius: float) -> ModelSettings:
    victim = settings.victim
    assert victim.training is not None  # the settings have seen to it
    training = victim.training.model_copy(update={"adversarial_radius": radius})
    return settings.model_copy(update={"victim": victim.model_copy(update={"training": training})})
