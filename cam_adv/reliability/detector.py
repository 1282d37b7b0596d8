"""Can two kinds of pictures be told apart? A held-out classifier, and the area under its ROC curve."""

import torch
from scipy.stats import rankdata
from torch import Tensor

RIDGE = 1.0
"""Added to the kernel's diagonal, of which every entry is 1: as if each label were half noise."""


def held_out_scores(features: Tensor, kind: Tensor, fold: Tensor) -> Tensor:
    """Scores `(n,)` of rows that the classifier which gives them has not seen; higher: more like kind 1.

    Regularised least squares on a Gaussian kernel (Rifkin, Yeo and Poggio 2003), in closed form and so the same on
    every run: columns are standardised on the training rows, the kernel is as wide as the median distance of those.

    Args:
        features: `(n, F)`.
        kind: 0 or 1, `(n,)`, or several such columns `(n, B)`, each learnt and scored on its own.
        fold: `(n,)`; rows of one fold are scored by what was learnt from the others.

    Returns:
        Of the shape of `kind`.
    """
    features, sign = features.double(), 2 * kind.double() - 1
    scores = torch.empty_like(sign)
    for number in fold.unique():
        test = fold == number
        train = features[~test]
        deviation = train.std(dim=0)
        standard = (features - train.mean(dim=0)) / torch.where(deviation > 0, deviation, 1.0)
        away = torch.cdist(standard, standard[~test]).square()
        learnt = away[~test]
        width = learnt[learnt > 0].median() if (learnt > 0).any() else torch.ones(())
        kernel = (-away / width).exp()
        ridge = RIDGE * torch.eye(len(train), dtype=torch.float64)
        weights = torch.linalg.solve(kernel[~test] + ridge, sign[~test] - sign[~test].mean(dim=0))
        scores[test] = kernel[test] @ weights
    return scores


def folds(group: Tensor, count: int, draws: torch.Generator) -> Tensor:
    """A fold in [0, count) for each row, the same for all rows of one group, groups spread evenly: `(n,)`.

    Args:
        group: any integers, `(n,)`, such as the source image.
        count: no more than there are groups.
        draws: on the CPU.
    """
    groups, position = group.unique(return_inverse=True)
    return (torch.randperm(len(groups), generator=draws) % count)[position]


def auc_parts(positive: Tensor, negative: Tensor) -> Tensor:
    """What each pair of a positive and a negative adds to the area under the ROC curve, `(n,)`: the mean is the AUC.

    A positive's placement is the share of all negatives below it, a negative's the share of positives above it, ties
    half. A pair has the sum of both less the AUC: its influence on it (DeLong et al. 1988), so that resampling pairs
    resamples the AUC.

    Args:
        positive, negative: scores of matched pairs, `(n,)` each.
    """
    above = (positive[:, None] > negative).double() + (positive[:, None] == negative).double() / 2
    return above.mean(dim=1) + above.mean(dim=0) - above.mean()


def areas(scores: Tensor, kind: Tensor) -> Tensor:
    """Area under the ROC curve of every column of scores `(n, B)` for kinds 0 and 1 `(n, B)`: `(B,)`; ties half."""
    ranks = torch.from_numpy(rankdata(scores.numpy(), axis=0))
    positives = kind.double().sum(dim=0)
    negatives = len(kind) - positives
    return ((ranks * kind).sum(dim=0) - positives * (positives + 1) / 2) / (positives * negatives)
