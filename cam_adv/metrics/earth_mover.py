"""The earth mover's distance between two maps: the cost of moving the mass of one to the positions of the other."""

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import csc_array
from torch import Tensor

from cam_adv.metrics.map_similarity import grid_positions, positive_mass


def earth_movers_distance(before: Tensor, after: Tensor) -> Tensor:
    """Exact distance between the positive parts of the maps, each scaled to sum to 1 (Rubner et al. 2000).

    As the cost is the Euclidean distance, mass that both maps have at a position can stay there, so that only the
    differences are moved. A map without a positive part counts as uniform, as in `positive_mass`.

    The time grows faster than the square of the number of positions: pool maps at image resolution first.

    Args:
        before, after: raw maps `(N, h, w)`.

    Returns:
        `(N,)`, in positions.

    Raises:
        ValueError: a map contains NaN or infinity.
    """
    grid = grid_positions(*before.shape[1:]).double()
    cost = torch.cdist(grid, grid).numpy()
    surplus = (positive_mass(before.double()) - positive_mass(after.double())).cpu()
    if not surplus.isfinite().all():
        raise ValueError("maps with NaN or infinity have no earth mover's distance")
    return torch.tensor([_transport(row, cost) for row in surplus.numpy()], dtype=torch.float64).to(before)


def _transport(surplus: np.ndarray, cost: np.ndarray) -> float:
    """Lowest total cost of moving the positive entries of `surplus` `(P,)` to the negative ones.

    It is a linear program: variable (i, j) is the mass that goes from source i to sink j; each source gives and each
    sink takes its own.
    """
    source, sink = surplus > 0, surplus < 0
    if not (source.any() and sink.any()):
        return 0.0
    supply, demand = surplus[source], -surplus[sink]
    demand *= supply.sum() / demand.sum()  # equal but for rounding
    flows = np.arange(len(supply) * len(demand))
    equations = np.stack([flows // len(demand), len(supply) + flows % len(demand)], axis=1)
    starts = np.arange(0, equations.size + 1, 2)  # each flow stands in two equations
    matrix = csc_array((np.ones(equations.size), equations.ravel(), starts))
    masses = np.concatenate([supply, demand])
    solved = linprog(cost[np.ix_(source, sink)].ravel(), A_eq=matrix, b_eq=masses, options={"presolve": False})
    if not solved.success:
        raise RuntimeError(f"the transport was not solved: {solved.message}")
    return float(solved.fun)
