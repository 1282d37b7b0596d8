"""The judge: its probabilities by hand, its plausibility computed again in NumPy, and what it reads in junk."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from conftest import texture_images
from torch import Tensor, nn
from torch.nn import functional

from cam_adv.data.human_labels import NOTHING
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.judge import Judge, product_of_experts, reading_text
from cam_adv.models.penultimate import penultimate_features

CPU = torch.device("cpu")
SIDE, LEVEL = 16, 0.05


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_member(seed: int, features: int = 6, pixels: int = 16) -> nn.Sequential:
    """An untrained network for images of 16 pixels and three classes."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, features), nn.ReLU(), nn.Linear(features, 3))


def random_images(count: int, seed: int) -> LabelledImages:
    """Random images of 4×4 pixels, with labels that are unrelated to them."""
    images = torch.randint(256, (count, 1, 4, 4), generator=seeded(seed)).byte()
    return LabelledImages(images, torch.arange(count) % 3)


class TestProductOfExperts:
    def test_by_hand_and_with_a_zero(self) -> None:
        """By hand: (0.9·0.4, 0.1·0.6)^½ = (0.6, 0.245), 0.71 of it for the first; a probability of 0 stays 0."""
        members = torch.tensor([[[0.9, 0.1], [0.4, 0.6]]], dtype=torch.float64)
        assert product_of_experts(members.log()).tolist() == [
            pytest.approx([0.6 / (0.6 + 0.06**0.5), 0.06**0.5 / (0.6 + 0.06**0.5)])
        ]
        ruled_out = torch.tensor([[[0.0, -torch.inf], [-1.0, 2.0]]], dtype=torch.float64)
        assert product_of_experts(ruled_out).tolist() == [[1.0, 0.0]]

    def test_one_member_is_its_softmax_and_a_shift_of_logits_changes_nothing(self) -> None:
        logits = torch.randn(5, 3, 4, generator=seeded(0), dtype=torch.float64)
        torch.testing.assert_close(product_of_experts(logits[:, :1]), logits[:, 0].softmax(dim=1))
        shifted = logits + torch.randn(5, 3, 1, generator=seeded(1), dtype=torch.float64)
        torch.testing.assert_close(product_of_experts(shifted), product_of_experts(logits))
        torch.testing.assert_close(product_of_experts(logits.flip(1)), product_of_experts(logits))


class TestPenultimateFeatures:
    def test_are_the_inputs_of_the_last_linear_layer_and_leave_no_hook(self) -> None:
        network, images = random_member(0), torch.rand(3, 1, 4, 4, generator=seeded(0))
        logits, features = penultimate_features(network, images)
        torch.testing.assert_close(features, network[:3](images))
        torch.testing.assert_close(logits, network(images))
        assert not any(part._forward_pre_hooks or part._forward_hooks for part in network.modules())

    def test_without_a_linear_layer_are_the_logits(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten())
        images = torch.rand(2, 1, 4, 4, generator=seeded(0))
        for found in penultimate_features(network, images):
            torch.testing.assert_close(found, network(images))

    def test_a_feature_map_before_a_convolution_as_last_layer_is_flattened(self) -> None:
        network = nn.Sequential(nn.Linear(4, 2), nn.Flatten(), nn.Unflatten(1, (8, 1, 1)), nn.Conv2d(8, 3, 1))
        images = torch.rand(2, 1, 4, 4, generator=seeded(0))
        assert torch.equal(penultimate_features(network, images)[1], images.flatten(1))


def numpy_measures(
    members: Sequence[nn.Sequential], images: Tensor, train: LabelledImages, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class of each image, and two measures by each member of the image as one of it, `(2·M, N)`."""

    def outputs(member: nn.Sequential, pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            features = member[:3](pixels.float() / 255)
            logits = member[3](features).double().numpy()
        features = features.double().numpy()
        lengths = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), features / lengths

    own = [outputs(member, images) for member in members]
    mean = sum(log_probs for log_probs, _ in own) / len(members)
    label, every = mean.argmax(axis=1), np.arange(len(images))
    measures = [log_probs[every, label] for log_probs, _ in own]
    for member, (_, features) in zip(members, own, strict=True):
        anchors, distances = outputs(member, train.images)[1], []
        for row, one in enumerate(label):
            to_class = np.linalg.norm(features[row] - anchors[train.labels.numpy() == one], axis=1)
            distances.append(np.sort(to_class)[min(neighbours, len(to_class)) - 1])
        measures.append(-np.array(distances))
    return label, np.stack(measures)


class TestPlausibility:
    @pytest.mark.parametrize(("neighbours", "seed"), [(1, 0), (3, 10), (50, 20)])
    def test_is_the_conformal_p_value_of_the_smallest_rank(self, neighbours: int, seed: int) -> None:
        """Also where a class has fewer training images than k: then the farthest one counts."""
        members = [random_member(seed + number, features) for number, features in enumerate((6, 9, 4))]
        train, held_out, new = (random_images(count, seed + number) for number, count in enumerate((40, 70, 90)))
        judge = Judge({str(n): one for n, one in enumerate(members)}, 0.3, neighbours, 1000).fit(train, held_out, CPU)
        reading = judge.read(new.images, CPU)

        _, real = numpy_measures(members, held_out.images, train, neighbours)
        label, found = numpy_measures(members, new.images, train, neighbours)

        def score(measures: np.ndarray) -> np.ndarray:
            return (measures[:, :, None] >= real[:, None, :]).sum(axis=2).min(axis=0)

        plausibility = (1 + (score(real)[None, :] <= score(found)[:, None]).sum(axis=1)) / (1 + 70)
        assert reading.plausibility.numpy() == pytest.approx(plausibility)
        assert len(set(plausibility)) > 10
        assert reading.reads.tolist() == [
            one if p > 0.3 else NOTHING for one, p in zip(label, plausibility, strict=True)
        ]
        assert NOTHING in reading.reads
        assert (reading.reads != NOTHING).any()
        with torch.no_grad():
            logits = torch.stack([member(new.images.float() / 255) for member in members], dim=1).double()
        torch.testing.assert_close(reading.members, logits.softmax(dim=2).float())
        torch.testing.assert_close(reading.probs, product_of_experts(logits).float())

    def test_share_of_real_images_that_are_nothing_is_the_level(self) -> None:
        """Over 20 judges of 500 held-out and 500 new images each, within three standard errors of both samples.

        A held-out image counts itself in its ranks, a new one does not. So up to 2·M − 1 held-out images of the next
        higher score should count as no higher, but don't, and that share more is taken for nothing.
        """
        for level in (0.05, 0.2):
            nothing, splits, count = 0, 20, 500
            for seed in range(splits):
                members = {"one": random_member(2 * seed), "other": random_member(2 * seed + 1)}
                train, held_out, new = (random_images(count, 3 * seed + number) for number in range(3))
                reading = Judge(members, level, 3, 1000).fit(train, held_out, CPU).read(new.images, CPU)
                nothing += int((reading.reads == NOTHING).sum())
            error = (level * (1 - level) * 2 / (count * splits)) ** 0.5
            assert -3 * error <= nothing / (count * splits) - level <= 3 * error + 3 / (1 + count)

    def test_at_most_so_many_references_of_each_class_are_searched(self) -> None:
        """With one reference, the distance to the only neighbour is that to a training image of the class."""
        member, train = random_member(0), random_images(30, 0)
        judge = Judge({"one": member}, 0.1, 5, 1).fit(train, random_images(20, 1), CPU)
        repeated = Judge({"one": member}, 0.1, 5, 1).fit(train, random_images(20, 1), CPU)
        new = random_images(50, 2).images
        torch.testing.assert_close(judge.read(new, CPU).plausibility, repeated.read(new, CPU).plausibility)
        (of_class,) = judge._reference_features[1]
        with torch.no_grad():
            features = member[:3](train.images[train.labels == 1].float() / 255)
        assert of_class.shape == (1, 6)
        assert (features - of_class).norm(dim=1).min() < 1e-6

    def test_images_in_unit_range_are_read_as_bytes_are(self) -> None:
        judge = Judge({"one": random_member(0)}, 0.1, 3, 10).fit(random_images(30, 0), random_images(20, 1), CPU)
        new = random_images(40, 2).images
        one, other = judge.read(new, CPU), judge.read(new.float() / 255, CPU)
        assert all(torch.equal(vars(one)[name], vars(other)[name]) for name in vars(one))

    def test_reading_before_fit_raises(self) -> None:
        with pytest.raises(ValueError, match="fitted"):
            Judge({"one": random_member(0)}, 0.1, 3, 10).read(random_images(3, 0).images, CPU)

    def test_features_are_those_of_all_members(self) -> None:
        members = {"one": random_member(0), "other": random_member(1, 4)}
        images = random_images(7, 0).images
        found = Judge(members, 0.1, 3, 10).features(images, CPU)
        with torch.no_grad():
            expected = [member[:3](images.float() / 255) for member in members.values()]
        torch.testing.assert_close(found, torch.cat(expected, dim=1))


def textures(count: int, seed: int) -> LabelledImages:
    """`count` images of each of the three textures."""
    images = torch.from_numpy(texture_images(count, SIDE, seed)).flatten(0, 1).unsqueeze(1)
    return LabelledImages(images, torch.arange(3).repeat_interleave(count))


def trained_member(train: LabelledImages, seed: int) -> nn.Sequential:
    """A small convolutional network that has learnt the textures."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(12, 3),
        )
        optimizer = torch.optim.Adam(network.parameters(), 0.01)
        for _ in range(60):
            optimizer.zero_grad()
            functional.cross_entropy(network(train.images.float() / 255), train.labels).backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def judge() -> Judge:
    """Three members that have learnt the textures."""
    train = textures(60, seed=1)
    members = {str(seed): trained_member(train, seed) for seed in range(3)}
    return Judge(members, LEVEL, 5, 1000).fit(train, textures(300, seed=2), CPU)


class TestControls:
    def test_real_images_are_read_as_their_label(self, judge: Judge) -> None:
        real = textures(100, seed=3)
        reading = judge.read(real.images, CPU)
        accepted = reading.reads != NOTHING
        assert accepted.float().mean() > 1 - 2 * LEVEL
        assert torch.equal(reading.reads[accepted], real.labels[accepted])

    @pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
    def test_blank_pictures_are_nothing(self, judge: Judge, level: float) -> None:
        assert judge.read(torch.full((2, 1, SIDE, SIDE), level), CPU).reads.tolist() == [NOTHING] * 2

    def test_noise_is_nothing(self, judge: Judge) -> None:
        noise = torch.rand(50, 1, SIDE, SIDE, generator=seeded(0))
        reading = judge.read(noise, CPU)
        assert (reading.reads == NOTHING).all()
        assert reading.plausibility.max() <= LEVEL


class TestPicturesAndMembersFromPython:
    def test_nothing_is_read_in_a_picture_with_nan(self, judge: Judge) -> None:
        pictures = textures(1, seed=3).images.float() / 255
        expected = judge.read(pictures, CPU).reads
        pictures[1, 0, 0, 0] = torch.nan
        assert judge.read(pictures, CPU).reads.tolist() == [expected[0], NOTHING, expected[2]]

    def test_pixels_of_8_bits_as_numbers_are_refused(self, judge: Judge) -> None:
        with pytest.raises(UserError, match="the highest is") as refusal:
            judge.read(textures(1, seed=3).images.float(), CPU)
        assert refusal.value.remedy == "Divide 8-bit pixels by 255."

    def test_members_are_read_in_evaluation_mode_and_in_inference_mode(self, judge: Judge) -> None:
        train, real = textures(20, seed=1), textures(20, seed=3).images
        members = {"one": nn.Sequential(nn.Dropout(0.5), trained_member(train, 0)).train()}
        expected = Judge({"one": trained_member(train, 0)}, LEVEL, 5, 1000).fit(train, train, CPU).read(real, CPU)
        with torch.inference_mode():
            found = Judge(members, LEVEL, 5, 1000).fit(train, train, CPU).read(real, CPU)
        assert torch.equal(found.probs, expected.probs)
        assert torch.equal(found.plausibility, expected.plausibility)
        assert members["one"].training

    @pytest.mark.parametrize(
        ("last", "message"),
        [
            (nn.Softmax(dim=1), "The judge's member odd returns probabilities, not logits"),
            (nn.ConstantPad1d((0, 1), 0.0), r"The judge's member odd returns \(8, 4\) for 8 images"),
        ],
    )
    def test_members_without_logits_are_refused(self, last: nn.Module, message: str) -> None:
        train = textures(20, seed=1)
        member = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 3), last)
        with pytest.raises(UserError, match=message):
            Judge({"odd": member}, LEVEL, 5, 1000).fit(train, train, CPU)


def test_reading_text_names_the_class_or_nothing() -> None:
    names = ("cat", "dog")
    assert [reading_text(reading, names) for reading in (0, 1, NOTHING)] == ["cat", "dog", "nothing"]
