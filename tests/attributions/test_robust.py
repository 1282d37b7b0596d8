"""The robust interpretation: naive loops over victims and draws, its threshold by hand, and what it abstains on."""

import pickle

import pytest
import torch
from torch import Tensor, nn

from cam_adv.attributions.class_maps import contrast_cam
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.attributions.robust import OWN_STYLE, RobustInterpretation
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator, Posterior
from cam_adv.models.victims import GapCNN

SIDE = 4


class Identity(Generator):
    """Codes are the pixels themselves, with a standard deviation of 0.1; f2 reads class 1 in dark images."""

    latent_size = SIDE**2

    def classifier(self, codes: Tensor) -> Tensor:
        return torch.stack([codes.mean(dim=1), 1 - codes.mean(dim=1)], dim=1)

    def encode(self, images: Tensor) -> Posterior:
        codes = images.flatten(1)
        return Posterior(codes, torch.full_like(codes, 0.1))

    def decode(self, codes: Tensor) -> Tensor:
        return codes.clamp(0, 1).unflatten(1, (1, SIDE, SIDE))


class LightOrDark(nn.Module):
    """Class 0 in light images and class 1 in dark ones; its maps are x and 1 − x."""

    def __init__(self, scale: float = 10.0) -> None:
        super().__init__()
        self.maps = nn.Conv2d(1, 2, 1)
        self.classifier = nn.Linear(2, 2, bias=False)
        self.load_state_dict(
            {
                "maps.weight": torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1),
                "maps.bias": torch.tensor([0.0, 1.0]),
                "classifier.weight": scale * torch.eye(2),
            }
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.maps(images).mean(dim=(2, 3)))


def noise(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def of_level(level: float) -> Tensor:
    """An image of one brightness, with some texture."""
    return level + 0.1 * (noise(1) - 0.5)


def make(
    victims: list[nn.Module] | None = None, samples: int = 3, spread: float = 1.0, level: float = 0.1
) -> RobustInterpretation:
    victims = victims or [LightOrDark(10), LightOrDark(5)]
    return RobustInterpretation(victims, Identity(), noise(8), samples=samples, spread=spread, level=level, seed=3)


def honest(count: int = 40) -> LabelledImages:
    """Light and dark images in turn, as bytes."""
    images = torch.cat([of_level(0.75 + 0.2 * i / count if i % 2 == 0 else 0.2 * i / count) for i in range(count)])
    return LabelledImages((255 * images.clamp(0, 1)).round().byte(), torch.arange(count) % 2)


def test_maps_and_answers_are_means_over_victims_and_draws() -> None:
    torch.manual_seed(0)
    victims: list[nn.Module] = [GapCNN(1, 2, (2, 3, 4)).double().eval() for _ in range(2)]
    victims = [nn.Sequential(nn.Upsample(scale_factor=4), victim).eval() for victim in victims]
    images, label, target = noise(5).double(), torch.tensor([0, 1, 0, 1, 0]), torch.tensor([1, 0, 1, 0, 1])
    interpretation = RobustInterpretation(victims, Identity(), images, samples=3, spread=0.7, level=0.1, seed=3)
    eps = torch.randn(3, SIDE**2, generator=torch.Generator().manual_seed(3)).double()
    maps, probs = [], []
    for draw in eps:
        view = (images.flatten(1) + 0.7 * 0.1 * draw).clamp(0, 1).unflatten(1, (1, SIDE, SIDE))
        for victim in victims:
            maps.append(contrast_cam(LayerTarget.with_exact_cam(victim, images), view, label, target))
            probs.append(victim(view).softmax(dim=1)[torch.arange(5), label])
    log_probs, mean_maps = interpretation.log_probs_and_maps(images, label, target)
    assert mean_maps.flatten(1).std(dim=1).min() > 0
    torch.testing.assert_close(mean_maps, torch.stack(maps).mean(dim=0))
    torch.testing.assert_close(log_probs.exp().mean(dim=0), torch.stack(probs).mean(dim=0))


def test_one_victim_without_spread_is_its_contrast_cam() -> None:
    images, label, target = noise(6), torch.zeros(6, dtype=torch.long), torch.ones(6, dtype=torch.long)
    _, maps = make([LightOrDark(10)], spread=0).log_probs_and_maps(images, label, target)
    torch.testing.assert_close(maps, 10 * (2 * images - 1).squeeze(1))


@pytest.mark.parametrize(("count", "level", "abstentions"), [(40, 0.1, 3), (19, 0.05, 0), (20, 0.2, 3)])
def test_fit_abstains_on_less_than_its_level_of_the_honest_images(count: int, level: float, abstentions: int) -> None:
    """The threshold is the floor(level·(n + 1))-th smallest answer, and answers that are no smaller are kept."""
    data, interpretation = honest(count), make(level=level).fit(honest(count))
    explained = interpretation.explain(data.images / 255, data.labels, 1 - data.labels)
    assert len(explained.answer.unique()) == count
    assert int(explained.abstained.sum()) == abstentions
    assert explained.answer.sort().values[abstentions] == interpretation.threshold


def test_it_abstains_where_the_label_is_not_confirmed_and_shows_no_map() -> None:
    interpretation = make().fit(honest())
    images = torch.cat([of_level(0.9), of_level(0.1), of_level(0.9), of_level(0.1)])
    label = torch.tensor([0, 1, 1, 0])
    explained = interpretation.explain(images, label, 1 - label)
    assert explained.abstained.tolist() == [False, False, True, True]
    assert explained.maps.isnan().flatten(1).any(dim=1).tolist() == [False, False, True, True]
    assert explained.maps[2:].isnan().all()
    assert (explained.maps[:2].mean(dim=(1, 2)) > 0).all()


def test_explanation_does_not_depend_on_the_batch() -> None:
    interpretation, images = make().fit(honest()), noise(7)
    label, target = torch.tensor([0, 1, 0, 1, 0, 1, 0]), torch.tensor([1, 0, 1, 0, 1, 0, 1])
    whole = vars(interpretation.explain(images, label, target))
    one = vars(interpretation.explain(images[4:5], label[4:5], target[4:5]))
    for name, values in whole.items():
        torch.testing.assert_close(one[name], values[4:5], equal_nan=True)


def test_counterfactual_is_the_mean_code_of_the_class_with_a_part_of_the_own_offset() -> None:
    data, interpretation = honest(), make().fit(honest())
    light, dark = ((data.images[data.labels == label] / 255).mean(dim=0, keepdim=True) for label in (0, 1))
    image, label, target = of_level(0.95), torch.tensor([0]), torch.tensor([1])
    explained = interpretation.explain(image, label, target)
    torch.testing.assert_close(explained.as_label, (light + OWN_STYLE * (image - light)).clamp(0, 1))
    torch.testing.assert_close(explained.as_target, (dark + OWN_STYLE * (image - light)).clamp(0, 1))


def test_copy_in_another_process_explains_with_its_own_networks() -> None:
    """The layers that maps are taken from belong to the victims, also after pickling."""
    interpretation, images = make().fit(honest()), noise(4)
    copied = pickle.loads(pickle.dumps(interpretation))
    for victim, head in zip(copied.victims, copied.heads, strict=True):
        assert any(part is head.layer for part in victim.modules())
    zeros = torch.zeros(4, dtype=torch.long)
    expected, found = (one.explain(images, zeros, 1 - zeros) for one in (interpretation, copied))
    torch.testing.assert_close(found.answer, expected.answer)


def test_fit_refuses_too_few_images_and_a_class_without_any() -> None:
    with pytest.raises(UserError, match=r"8 honest images are too few .* 10\.0% of them\.\nGive 9 or more"):
        make().fit(honest(8))
    data = honest()
    with pytest.raises(UserError, match="No honest image is of class 0"):
        make().fit(data[data.labels == 1])


def test_explain_before_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="call fit"):
        make().explain(noise(1), torch.tensor([0]), torch.tensor([1]))
