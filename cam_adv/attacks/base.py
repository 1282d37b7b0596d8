"""The base class of attacks, and an attack together with the networks that it needs."""

from abc import abstractmethod
from collections.abc import Callable
from copy import copy
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from cam_adv.attacks.attack_mode import attack_mode
from cam_adv.attacks.model_checks import check_models, check_victim_range
from cam_adv.attacks.result import AttackResult
from cam_adv.attributions.robust import RobustInterpretation
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator
from cam_adv.models.input_checks import check_images, check_labels
from cam_adv.models.modes import without_history
from cam_adv.schema.attribution import RobustSettings
from cam_adv.schema.component import Component
from cam_adv.schema.fields import Count, Integer, Kind, Name, NotNegative, Share

Role = Literal["victim", "generator", "surrogates", "judge"]

StepCallback = Callable[[int, int], None]
"""Called after each step with the number of steps done and of samples that are still being attacked."""


class AttackModels(nn.Module):
    """The networks that an attack may use.

    victim: f1, images `(N, C, H, W)` in [0, 1] to logits `(N, K)`.
    generator, surrogates: None and empty for an attack that doesn't name them in its `roles`.
    real: images that a latent attack may start from; they trained neither the generator nor the judge.
    train_images: those of the generator, whose codes a latent attack may stay near.
    interpretation: the robust interpretation that an adaptive attack must satisfy, as the attacker knows it.
    """

    def __init__(
        self,
        victim: nn.Module,
        generator: Generator | None = None,
        surrogates: list[nn.Module] | None = None,
        real: LabelledImages | None = None,
        train_images: LabelledImages | None = None,
        interpretation: RobustInterpretation | None = None,
    ) -> None:
        """
        Raises:
            UserError: the victim is no `torch.nn.Module`.
        """
        super().__init__()
        if not isinstance(victim, nn.Module):
            raise UserError(
                f"The victim is a {type(victim).__name__}, not a torch.nn.Module.",
                "Call it in the forward of a torch.nn.Module, and give that.",
            )
        self.victim = victim
        self.generator = generator
        self.surrogates = nn.ModuleList(surrogates or [])
        self.real = real
        self.train_images = train_images
        self.interpretation = interpretation

    @property
    def is_compiled(self) -> bool:
        """Whether a network is compiled (`hardware.compile`)."""
        return any(part._compiled_call_impl is not None for part in self.modules())


class Attack(Component):
    """An attack of Type I or II. Its fields are the keys of `conf/attack/<name>.yaml`.

    A subclass names the networks that it needs (`roles`) and implements the attack (`run`). It holds no network and
    no state: the result of an image does not depend on the batch that it is attacked in.

    kind: decides by which criteria a success is judged; see `cam_adv.metrics.success`.
    strength: the bound, one key for all attacks so that a sweep can share it: the radius of a norm's ball around x
        for attacks on pixels, the radius of a ball around z0 for latent attacks; None: unbounded.
    confidence: Type I: the smallest probability of y at which the victim's criterion is met; Type II: not needed.
    trace_points: number of evenly spaced steps that are recorded.
    batch_size: images that are attacked together; "auto": see `cam_adv.attacks.batch_size`.
    """

    section: ClassVar[str] = "attack"
    targeted: ClassVar[bool] = True
    """Whether the attack aims at a class y'; an untargeted attack accepts any class but y."""

    name: Name
    kind: Kind
    strength: NotNegative | None = None
    confidence: Share | None = None
    trace_points: Annotated[Integer, Field(ge=2)] = 25
    batch_size: Literal["auto"] | Count = "auto"

    @property
    def roles(self) -> frozenset[Role]:
        """The networks that it needs."""
        return frozenset({"victim"})

    @property
    def needs_exact_cam(self) -> bool:
        """Whether the victim must have an exact CAM."""
        return False

    @property
    def attacked_interpretation(self) -> RobustSettings | None:
        """The robust interpretation that its result must satisfy; None for an attack that knows of none."""
        return None

    @property
    def uses_train_images(self) -> bool:
        """Whether its result depends on the generator's training images."""
        return False

    @property
    def uses_real_images(self) -> bool:
        """Whether its result depends on the real images that an attack may start from."""
        return False

    @property
    def start_names(self) -> list[str]:
        """Names of its starts, in the order in which they are tried; `AttackResult.start` is an index into them."""
        return ["x"]

    @property
    def steps_per_init(self) -> int:
        """The largest number of steps from each start."""
        return 1

    def prepare(self, models: AttackModels, seed: int) -> nn.Module | None:
        """What is computed once for all batches; None if there is nothing to compute."""
        return None

    @abstractmethod
    def run(
        self,
        models: AttackModels,
        x: Tensor,
        y: Tensor,
        target: Tensor,
        *,
        seed: int,
        prepared: nn.Module | None,
        on_step: StepCallback,
    ) -> AttackResult:
        """Attack images. Gradients are enabled, the networks are in evaluation mode, their weights need no gradients.

        Args:
            x: `(N, C, H, W)` in [0, 1].
            y: their labels, `(N,)`. Type I: what the victim must still predict. Type II: what a person must still
                see.
            target: y', `(N,)`. Type I: what a person must see. Type II: what the victim must predict.
            seed: of all random draws.
            prepared: what `prepare` returned, on the networks' device.
        """

    def with_confidence(self, confidence: float) -> Self:
        """The same attack that asks another confidence of the victim."""
        return self.model_copy(update={"confidence": confidence})

    def full_trace(self) -> Self:
        """The same attack with every step recorded."""
        return self.model_copy(update={"trace_points": self.steps_per_init + 1})

    @model_validator(mode="after")
    def _type1_has_a_confidence(self) -> Self:
        if self.kind == "type1" and self.confidence is None:
            raise UserError(
                f"attack.confidence is null, but {self.name} is a Type I attack: the victim must keep y.",
                "Give the smallest probability of y that the victim must keep, such as attack.confidence=0.9.",
            )
        return self


class BoundAttack(nn.Module):
    """An attack together with its networks: a module that maps images to an `AttackResult`."""

    def __init__(self, attack: Attack, models: AttackModels, seed: int = 0) -> None:
        """
        Args:
            seed: of the attack's random draws.

        Raises:
            UserError: a network of the attack's `roles` is missing, or was made in `torch.inference_mode`.
        """
        super().__init__()
        given = {"generator": models.generator is not None, "surrogates": len(models.surrogates) > 0}
        for role, is_given in given.items():
            if role in attack.roles and not is_given:
                raise UserError(f"{attack.name} needs {role}, and there is none.", f"Give {role}.")
        if attack.attacked_interpretation is not None and models.interpretation is None:
            raise UserError(
                f"{attack.name} attacks a robust interpretation, and there is none.",
                "Give AttackModels the interpretation, or let StudyContext.bind do it.",
            )
        if any(tensor.is_inference() for tensor in (*models.parameters(), *models.buffers())):
            raise UserError(
                "A network of the attack was made in torch.inference_mode, and can have no gradients.",
                "Make it outside of that, or in torch.no_grad.",
            )
        self.attack = attack
        self.models = models
        self.seed = seed
        self._num_classes: int | None = None
        with attack_mode(models):
            self.prepared = attack.prepare(models, seed)

    def forward(
        self, x: Tensor, y: Tensor, target: Tensor, on_step: StepCallback = lambda step, active: None
    ) -> AttackResult:
        """See `Attack.run`. The first images also serve to check the networks.

        Raises:
            UserError: the images, the labels, the targets or a network are not what an attack needs.
        """
        with attack_mode(self):
            x, y, target = (without_history(given) for given in (x, y, target))
            x = x.contiguous()
            self._check(x, y, target)
            return self.attack.run(self.models, x, y, target, seed=self.seed, prepared=self.prepared, on_step=on_step)

    def _check(self, x: Tensor, y: Tensor, target: Tensor) -> None:
        """Check images and labels, and with the first ones the networks."""
        models, classes = self.models, self._num_classes
        check_images(x)
        if classes is None:
            generator = models.generator if "generator" in self.attack.roles else None
            surrogates = list(models.surrogates) if "surrogates" in self.attack.roles else []
            classes = check_models(models.victim, generator, surrogates, x)
        check_labels(y, len(x), classes, "The label y")
        if self._num_classes is None:
            check_victim_range(models.victim, x, y)
            self._num_classes = classes  # only now: what is refused once is refused again
        if not self.attack.targeted:
            return
        check_labels(target, len(x), classes, "The target y'")
        if same := int((target == y).sum()):
            raise UserError(
                f"The target y' is the label y of {same} of {len(x)} images.",
                f"Give each image another class than its own, such as (y + 1) % {classes}.",
            )

    @property
    def networks(self) -> list[nn.Module]:
        """The networks that `hardware.compile` compiles."""
        models = self.models
        generator = [] if models.generator is None else [models.generator]
        return [models.victim, *generator, *models.surrogates]

    def with_full_trace(self) -> "BoundAttack":
        """The same attack with every step recorded."""
        return self._with(self.attack.full_trace())

    def with_steps(self, steps: int) -> "BoundAttack":
        """The same attack with another number of steps, if it has any."""
        return self._with(self.attack.model_copy(update={"steps": steps} if hasattr(self.attack, "steps") else {}))

    def _with(self, attack: Attack) -> "BoundAttack":
        other = copy(self)
        other.attack = attack
        return other
