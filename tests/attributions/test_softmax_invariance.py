"""The invariance of the softmax: the CAM changes its sign, the probabilities and contrast CAM are unchanged."""

import torch
from torch import nn

from cam_adv.attributions.class_maps import cam, contrast_cam
from cam_adv.attributions.layer_target import LayerTarget
from cam_adv.attributions.softmax_invariance import negating_offset, with_row_offset
from cam_adv.models.victims import GapCNN


def test_negating_offset_negates_cam_and_keeps_probabilities_and_contrast_cam() -> None:
    torch.manual_seed(0)
    network = GapCNN(1, 3, (2, 3, 4)).double().eval()
    images = torch.rand(5, 1, 16, 16, dtype=torch.float64)
    label, target = torch.tensor([1, 1, 1, 1, 1]), torch.tensor([0, 2, 0, 2, 0])
    probs = network(images).softmax(dim=1)
    before = [
        method(LayerTarget.with_exact_cam(network, images), images, label, target) for method in (cam, contrast_cam)
    ]
    network.classifier = with_row_offset(network.classifier, negating_offset(network.classifier, 1))
    after = [
        method(LayerTarget.with_exact_cam(network, images), images, label, target) for method in (cam, contrast_cam)
    ]
    assert torch.allclose(network(images).softmax(dim=1), probs, rtol=0, atol=1e-9)
    assert torch.allclose(after[0], -before[0], rtol=0, atol=1e-9)
    assert torch.allclose(after[1], before[1], rtol=0, atol=1e-9)
    assert before[0].abs().max() > 1e-3
    assert isinstance(network.classifier, nn.Linear)
