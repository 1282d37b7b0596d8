"""Clusters of rows that depend on each other, because they share an image, a start or anything else."""

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor


def connected_clusters(*labels: Tensor) -> Tensor:
    """The number of each row's cluster, `(n,)`: rows with an equal label are in one, directly or through other rows.

    Args:
        labels: such as the source image and the code of the start; a number `(n,)` or a vector `(n, D)` for each row.
    """
    rows, links, count = len(labels[0]), [], len(labels[0])
    if rows == 0:
        return torch.empty(0, dtype=torch.long)
    for label in labels:
        values, position = label.unique(dim=0, return_inverse=True)
        links.append(count + position.reshape(-1).numpy())
        count += len(values)
    ends = np.tile(np.arange(rows), len(labels)), np.concatenate(links)
    graph = csr_array((np.ones(len(ends[0])), ends), shape=(count, count))
    return torch.from_numpy(connected_components(graph, directed=False)[1][:rows]).long()


def first_of_cluster(image: Tensor, *others: Tensor) -> Tensor:
    """The smallest image of each row's cluster, `(n,)`: a name of the cluster that does not depend on other rows.

    Args:
        image: a number for each row, `(n,)`. others: see `connected_clusters`.
    """
    cluster = connected_clusters(image, *others)
    return torch.empty_like(image).scatter_reduce(0, cluster, image, "amin", include_self=False)[cluster]
