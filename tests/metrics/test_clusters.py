"""Clusters of rows that share an image or a start."""

import torch

from cam_adv.metrics.clusters import connected_clusters, first_of_cluster


def test_connected_clusters_join_rows_by_image_or_start() -> None:
    """Rows 0 and 1 share an image, 1 and 3 a start; 2 and 4 share nothing."""
    image = torch.tensor([7, 7, 3, 5, 9])
    start = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 2.0], [2.0, 1.0], [1.0, 0.0]])
    first, second, third, fourth, fifth = connected_clusters(image, start).tolist()
    assert first == second == fourth
    assert len({first, third, fifth}) == 3
    assert connected_clusters(image).unique().numel() == 4


def test_connected_clusters_of_no_rows_are_none() -> None:
    assert connected_clusters(torch.empty(0), torch.empty(0, 3)).shape == (0,)


def test_cluster_is_named_by_its_smallest_image() -> None:
    image = torch.tensor([7, 7, 9, 5, 3])
    start = torch.tensor([[0.0], [2.0], [0.0], [2.0], [1.0]])
    assert first_of_cluster(image, start).tolist() == [5, 5, 5, 5, 3]
    assert first_of_cluster(image).tolist() == image.tolist()
    assert first_of_cluster(image[:0], start[:0]).shape == (0,)
