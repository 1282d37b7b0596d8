"""`conf/attack/`: attacks of both kinds."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cam_adv.errors import UserError
from cam_adv.settings.section import (
    Count,
    Index,
    Integer,
    Name,
    NotNegative,
    Positive,
    Section,
    Share,
    Target,
)

Kind = Literal["type1", "type2"]
"""Type I: the picture becomes another class and the victim's answer stays. Type II: the other way round."""
AttackNorm = Literal["linf", "l2"]


class Weights(Section):
    """Factors of the terms of the attack's objective; the victim's factor is each sample's multiplier k.

    f2: of J_2 = E CE(f2(z + spread·sigma·eps), y'), the latent classifier's view of y'.
    surrogates: of the surrogates' mean cross-entropy on G(z) against y'.
    discriminator: of BCE(D(z), 1), which asks the discriminator to take the code for a prior sample.
    norm: of ‖z‖₂, which keeps the code from drifting out to where the discriminator knows nothing.
    cam: of 1 − the centred cosine of CAM_y(G(z)) with CAM_y(x), which keeps the map where it was; 0: no map is made.
    """

    f2: NotNegative
    surrogates: NotNegative
    discriminator: NotNegative
    norm: NotNegative
    cam: NotNegative = 0.0


class LatentNoise(Section):
    """f2 answers for a neighbourhood of z: `samples` draws, `spread` posterior deviations wide."""

    samples: Count
    spread: NotNegative


class Views(Section):
    """The surrogates look at a copy of G(z) moved by up to `shift` pixels, under noise of deviation `noise`."""

    noise: NotNegative
    shift: Index


class AttackSettings(Section):
    """What every attack is asked.

    kind: which of the two verdicts is asked for. Every attack also says its `starts`, the names of what it begins at,
    each tried in turn; `steps_per_start`, how many steps it takes at most from each; `asks_surrogates`, whether they
    must be trained; `holds_map`, whether the victim must have an exact CAM.
    """

    name: Name
    kind: Kind
    images: Count
    source: Index | None
    frames: Annotated[Integer, Field(ge=2)]
    batch_size: Count


class LatentAttackSettings(AttackSettings):
    """A walk of the code z, whose picture G(z) is x'."""

    method: Literal["latent_walk"]
    target: Literal["random", "next", "every"] | Index
    strength: NotNegative | None
    steps: Count
    learning_rate: Positive
    confidence: Share
    margin: NotNegative
    starts: Annotated[list[Literal["mean", "lookalike"]], Field(min_length=1)]
    start_distance: NotNegative
    keep_best: bool
    proxies_per_step: Count
    rest_at: Share
    retry_below: Share
    weights: Weights
    latent_noise: LatentNoise
    views: Views
    multiplier: Target

    @property
    def steps_per_start(self) -> int:
        return self.steps

    @property
    def asks_surrogates(self) -> bool:
        return self.weights.surrogates > 0

    @property
    def holds_map(self) -> bool:
        return self.weights.cam > 0

    @model_validator(mode="after")
    def _target_is_another_class(self) -> "LatentAttackSettings":
        if self.source is not None and self.source == self.target:
            raise UserError(
                f"attack.target={self.target} is the class that the images already have.",
                "Choose another attack.target, or another attack.source.",
            )
        return self

    @model_validator(mode="after")
    def _type2_stays_at_its_picture(self) -> "LatentAttackSettings":
        if self.kind == "type1":
            return self
        if self.starts != ["mean"]:
            raise UserError(
                f"attack.starts={self.starts}, but {self.name} is a Type II attack: its picture stays, so it starts "
                "at its own code.",
                "Set attack.starts to [mean].",
            )
        if self.holds_map:
            raise UserError(
                f"attack.weights.cam={self.weights.cam} holds the map of the class that the victim keeps, but "
                f"{self.name} is a Type II attack, under which it keeps none.",
                "Use attack.weights.cam=0, or attack=type1_cam.",
            )
        return self


class PixelAttackSettings(AttackSettings):
    """An attack on the pixels of x: Type II, and untargeted, that is, any class but y will do."""

    kind: Literal["type2"]
    strength: NotNegative | None

    @property
    def starts(self) -> list[str]:
        return ["x"]

    @property
    def asks_surrogates(self) -> bool:
        return False

    @property
    def holds_map(self) -> bool:
        return False

    @model_validator(mode="before")
    @classmethod
    def _no_target(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "target" in values:
            raise UserError(
                f"attack.target={values['target']}, but attack={values.get('name')} is untargeted: any class but y "
                "will do.",
                "Leave attack.target out, or use attack=type2_latent.",
            )
        return values


class FGSMSettings(PixelAttackSettings):
    """One step to the border of the ball of radius `strength`."""

    method: Literal["fgsm"]
    strength: NotNegative
    norm: AttackNorm

    @property
    def steps_per_start(self) -> int:
        return 1


class PGDSettings(PixelAttackSettings):
    """Steps of `step_size`·strength inside the ball of radius `strength`."""

    method: Literal["pgd"]
    strength: NotNegative
    norm: AttackNorm
    steps: Count
    step_size: Positive
    random_start: bool

    @property
    def starts(self) -> list[str]:
        return ["random" if self.random_start else "x"]

    @property
    def steps_per_start(self) -> int:
        return self.steps


class MinimalNormSettings(PixelAttackSettings):
    """A search for the nearest image of another class, cut at the ball of radius `strength` where one is given."""

    norm: AttackNorm
    steps: Count

    @property
    def steps_per_start(self) -> int:
        return self.steps

    @model_validator(mode="after")
    def _foolbox_is_there(self) -> "MinimalNormSettings":
        if find_spec("foolbox") is None:
            raise UserError(
                f"attack={self.name} comes with another package.", "Install it with pip install 'cam-adv[foolbox]'."
            )
        return self


class DDNSettings(MinimalNormSettings):
    """See Rony et al. 2019."""

    method: Literal["ddn"]
    norm: Literal["l2"]
    first_radius: Positive
    gamma: Share


class DeepFoolSettings(MinimalNormSettings):
    """See Moosavi-Dezfooli et al. 2016."""

    method: Literal["deepfool"]
    overshoot: NotNegative


class CarliniWagnerSettings(MinimalNormSettings):
    """See Carlini and Wagner 2017; `steps` in each of `searches` rounds of the search for the constant."""

    method: Literal["carlini_wagner"]
    norm: Literal["l2"]
    searches: Count
    step_size: Positive
    first_constant: Positive

    @property
    def steps_per_start(self) -> int:
        return self.searches * self.steps


AnyAttack = Annotated[
    LatentAttackSettings | FGSMSettings | PGDSettings | DDNSettings | DeepFoolSettings | CarliniWagnerSettings,
    Field(discriminator="method"),
]
