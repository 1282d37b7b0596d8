"""Is an explanation reliable under a Type I attack? Three claims, measured apart, each of which may fail."""
