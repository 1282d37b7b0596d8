"""Run times and memory, compared with other packages and plain loops: `python -m cam_adv.benchmark`."""
