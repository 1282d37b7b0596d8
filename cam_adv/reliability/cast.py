"""All networks of the study: several victims, two that know nothing, and who attacks and judges them."""

from dataclasses import dataclass, replace

import torch

from cam_adv.data.splits import ImageSplits, LabelledImages
from cam_adv.explanation.subject import Subject
from cam_adv.networks.predictions import unit
from cam_adv.settings import Settings
from cam_adv.training.workshop import Model, Models, Workshop


@dataclass(frozen=True)
class Cast:
    """Built and checked; trained once `prepare` has returned.

    victims: by seed. others: judge, generator and surrogates. unknowing: networks like the victim that know nothing
    of the images, by name: one with its first weights, one trained on labels that were shuffled, in a workshop of its
    own; none for a victim that comes trained. A map that changes in these as it does in the victim tells of the
    pictures, not of what the victim has learnt (Adebayo et al. 2018, arXiv 1810.03292).
    """

    victims: dict[int, Model]
    others: Models
    unknowing: dict[str, Model]
    workshop: Workshop
    shuffled: Workshop

    @classmethod
    def build(cls, settings: Settings, splits: ImageSplits, workshop: Workshop) -> "Cast":
        """
        Raises:
            UserError: a network can't be built, is no classifier of these images, or is a victim without exact CAM.
        """
        seeds = settings.reliability.victims
        victims = {seed: _victim(settings, workshop, seed) for seed in seeds}
        Subject.with_exact_cam(victims[seeds[0]].network, unit(splits.test.images[:8]))
        others = workshop.models(settings.model, "attack", settings.attack.asks_surrogates)
        shuffled = replace(workshop, splits=_shuffled(splits, settings.seed))
        unknowing = {}
        if settings.model.victim.training is not None:
            unknowing["random_weights"] = _victim(settings, workshop, seeds[0])
            unknowing["shuffled_labels"] = _victim(settings, shuffled, seeds[0], ", shuffled labels")
        return cls(victims, replace(others, victim=None), unknowing, workshop, shuffled)

    def prepare(self, retrain: bool) -> list[Model]:
        """Load what the store has and train the rest; all that have learned."""
        models = [*self.victims.values(), *self.others.all()]
        self.workshop.prepare(models, retrain)
        own = [model for name, model in self.unknowing.items() if name == "shuffled_labels"]
        self.shuffled.prepare(own, retrain)
        for model in self.unknowing.values():
            model.network.eval().requires_grad_(False)
        return [*models, *own]


def _victim(settings: Settings, workshop: Workshop, seed: int, remark: str = "") -> Model:
    """The settings' victim from another seed: other first weights, another order of the images."""
    victim = settings.model.victim.model_copy(update={"seed": seed})
    model = workshop.models(settings.model.model_copy(update={"victim": victim}), "victim", False).victim
    assert model is not None  # the stage asks for it
    return replace(model, title=f"{model.title}, seed {seed}{remark}")


def _shuffled(splits: ImageSplits, seed: int) -> ImageSplits:
    """The same images, the training labels dealt out anew."""
    order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))
    return replace(splits, train=LabelledImages(splits.train.images, splits.train.labels[order]))
