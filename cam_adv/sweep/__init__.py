"""A sweep's report, read back from the folders of its jobs: one table and one figure. Nothing here imports torch."""
