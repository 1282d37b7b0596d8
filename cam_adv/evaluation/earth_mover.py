"""The earth mover's distance between two maps: how far what one shows has to be carried to become the other."""

import numpy as np
import torch
from torch import Tensor

from cam_adv.evaluation.map_change import grid_positions, positive_mass


def earth_movers_distance(before: Tensor, after: Tensor) -> Tensor:
    """Exact distance between the positive parts of the maps, each scaled to sum to 1 (Rubner et al. 2000).

    As the cost is the Euclidean distance, what both maps have at a position may stay there, so that only surpluses
    travel to deficits. A map without a positive part counts as even, as in `positive_mass`.

    The time grows faster than the square of the positions: maps of pictures are better pooled first.

    Args:
        before, after: raw maps `(N, h, w)`.

    Returns:
        `(N,)`, in positions.

    Raises:
        ValueError: a map holds NaN or infinity.
    """
    grid = grid_positions(*before.shape[1:]).double()
    cost = torch.cdist(grid, grid).numpy()
    surplus = (positive_mass(before.double()) - positive_mass(after.double())).cpu()
    if not surplus.isfinite().all():
        raise ValueError("maps with NaN or infinity have no earth mover's distance")
    return torch.tensor([_transport(row, cost) for row in surplus.numpy()], dtype=torch.float64).to(before)


def _transport(surplus: np.ndarray, cost: np.ndarray) -> float:
    """Cheapest total way from positive to negative entries of `surplus` `(P,)`."""
    from ot.lp import emd2  # takes a second to import, which nobody else has to wait for

    start, end = surplus > 0, surplus < 0
    if not (start.any() and end.any()):
        return 0.0
    leaves, arrives = surplus[start], -surplus[end]
    arrives *= leaves.sum() / arrives.sum()  # equal but for rounding
    distance, log = emd2(leaves, arrives, cost[np.ix_(start, end)], log=True)
    if log["warning"] is not None:
        raise RuntimeError(f"the transport was not solved: {log['warning']}")
    return float(distance)
