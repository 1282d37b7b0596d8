"""Pages of results: each one HTML file that works without a network. Nothing here imports torch."""
