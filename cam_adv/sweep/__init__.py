"""A sweep as one table and one picture: what its jobs leave, read back. Nothing here needs torch."""
