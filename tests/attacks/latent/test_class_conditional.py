"""A latent attack through a class-conditional generator: the perceived class is drawn throughout."""

from functools import partial

import pytest
import torch
from random_networks import TARGET, Y, images, make_attack, networks, real_images, train_images
from torch import Tensor, nn

from cam_adv.attacks.base import AttackModels, BoundAttack
from cam_adv.attacks.result import AttackResult
from cam_adv.models.generators.pretrained import PretrainedGenerator
from cam_adv.models.generators.strided_encoder import StridedEncoder

FREE = 5


class ClassDecoder(nn.Module):
    """Draws from five numbers, shifted by the class."""

    code_shape = FREE

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.shift = nn.Linear(FREE, 784), nn.Embedding(4, FREE)

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        return self.layer(z + self.shift(y)).sigmoid().unflatten(1, (1, 28, 28))


def attacked(kind: str, **changes: object) -> AttackResult:
    victim, _, surrogates = networks()
    encoder = partial(StridedEncoder, width=4, hidden=8)
    generator = PretrainedGenerator(ClassDecoder(), 1, 4, (28, 28), encoder=encoder).double()
    models = AttackModels(victim, generator, surrogates, real_images(), train_images())
    return BoundAttack(make_attack(kind, **changes), models)(images(), Y, TARGET)


@pytest.mark.parametrize(("kind", "perceived"), [("type1", TARGET), ("type2_latent", Y)])
def test_class_is_the_perceived_one_at_every_step(kind: str, perceived: Tensor) -> None:
    result = attacked(kind)
    wanted = nn.functional.one_hot(perceived, 4).double()
    assert result.z is not None
    assert result.z_start is not None
    assert result.path is not None
    assert torch.equal(result.z[:, FREE:], wanted)
    assert torch.equal(result.z_start[:, FREE:], wanted)
    assert torch.equal(result.path[:, :, FREE:], wanted.unsqueeze(1).expand(-1, result.path.shape[1], -1))
    assert not result.diverged.any()
    assert (result.path[:, -1, :FREE] - result.path[:, 0, :FREE]).norm(dim=1).max() > 0


def test_strength_bounds_the_code_beside_its_class() -> None:
    result = attacked("type1", strength=0.01, keep_best=False)
    assert result.z is not None
    assert result.z0 is not None
    distance = (result.z - result.z0)[:, :FREE].norm(dim=1)
    assert torch.equal(result.z[:, FREE:].argmax(dim=1), TARGET)
    assert distance.max() <= 0.01 + 1e-9
    assert distance.max().item() == pytest.approx(0.01)  # reached: without a bound they go farther


def test_every_term_is_finite_where_real_images_are_starts() -> None:
    result = attacked("type1", init=["mean", "real_image"])
    assert all(values.isfinite().all() for values in result.terms.values())
