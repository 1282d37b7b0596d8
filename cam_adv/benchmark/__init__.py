"""How long things take beside what else one could do: `python -m cam_adv.benchmark`."""
