"""A held-out kernel classifier that separates two kinds of inputs, and the area under its ROC curve."""

import torch
from scipy.stats import rankdata
from torch import Tensor

RIDGE = 1.0
"""Added to the kernel's diagonal, whose entries are all 1: the noise variance of a label equals its signal's."""


def held_out_scores(features: Tensor, kind: Tensor, fold: Tensor) -> Tensor:
    """Cross-validated scores, higher for kind 1: each row is scored by a classifier trained on the other folds.

    Regularised least squares with a Gaussian kernel (Rifkin, Yeo and Poggio 2003), in closed form and therefore
    deterministic: columns are standardised on the training rows, and the squared width of the kernel is the median
    squared distance between those.

    Args:
        features: `(n, F)`.
        kind: 0 or 1, `(n,)`, or several such columns `(n, B)`, each with a classifier of its own.
        fold: `(n,)`; the rows of one fold are scored by the classifier trained on all others.

    Returns:
        Scores in the shape of `kind`.
    """
    features, sign = features.double(), 2 * kind.double() - 1
    scores = torch.empty_like(sign)
    for number in fold.unique():
        test = fold == number
        train = features[~test]
        std = train.std(dim=0)
        standardised = (features - train.mean(dim=0)) / torch.where(std > 0, std, 1.0)
        squared_distance = torch.cdist(standardised, standardised[~test]).square()
        of_train = squared_distance[~test]
        width = of_train[of_train > 0].median() if (of_train > 0).any() else torch.ones(())
        kernel = (-squared_distance / width).exp()
        ridge = RIDGE * torch.eye(len(train), dtype=torch.float64)
        weights = torch.linalg.solve(kernel[~test] + ridge, sign[~test] - sign[~test].mean(dim=0))
        scores[test] = kernel[test] @ weights
    return scores


def assign_folds(group: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """A random fold in [0, count) for each row, `(n,)`: equal within a group, with groups spread evenly over folds.

    Args:
        group: any integers, `(n,)`, such as the source image.
        count: at most the number of groups.
        generator: on the CPU.
    """
    groups, position = group.unique(return_inverse=True)
    return (torch.randperm(len(groups), generator=generator) % count)[position]


def auc_contributions(positive: Tensor, negative: Tensor) -> Tensor:
    """Contribution of each matched pair to the area under the ROC curve, `(n,)`: the mean is the AUC.

    The placement of a positive is the share of all negatives below it, that of a negative the share of positives
    above it, with ties counted half. The contribution of a pair is the sum of both less the AUC, its influence on the
    AUC (DeLong et al. 1988), so that resampling pairs resamples the AUC.

    Args:
        positive, negative: scores of matched pairs, `(n,)` each.
    """
    above = (positive[:, None] > negative).double() + (positive[:, None] == negative).double() / 2
    return above.mean(dim=1) + above.mean(dim=0) - above.mean()


def column_aucs(scores: Tensor, kind: Tensor) -> Tensor:
    """Area under the ROC curve of every column of scores `(n, B)` for kinds 0 and 1 `(n, B)`: `(B,)`; ties half."""
    ranks = torch.from_numpy(rankdata(scores.numpy(), axis=0))
    positives = kind.double().sum(dim=0)
    negatives = len(kind) - positives
    return ((ranks * kind).sum(dim=0) - positives * (positives + 1) / 2) / (positives * negatives)
