"""Which images are attacked toward which classes."""

import pytest
import torch

from cam_adv.errors import UserError
from cam_adv.studies.explanation_reliability.sampling import sample_pairs

LABELS = torch.arange(40) % 4


def test_sample_pairs_each_image_gets_different_other_classes() -> None:
    selection = sample_pairs(LABELS, LABELS != 3, 4, images=12, targets=2, source=None, seed=0)
    assert len(selection) == 24
    assert (selection.index[::2] == selection.index[1::2]).all()
    assert len(selection.index.unique()) == 12
    assert (selection.target[::2] != selection.target[1::2]).all()
    assert (selection.target != selection.y).all()
    assert torch.equal(LABELS[selection.index], selection.y)
    assert 3 not in selection.y
    assert set(selection.target.tolist()) == {0, 1, 2, 3}


def test_sample_pairs_too_few_eligible_images_are_refused() -> None:
    with pytest.raises(UserError, match="only 10 test images"):
        sample_pairs(LABELS, LABELS == 1, 4, images=11, targets=1, source=None, seed=0)
