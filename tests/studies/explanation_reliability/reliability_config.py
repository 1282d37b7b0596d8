"""A configuration of the study with the shipped thresholds, for tests of its parts."""

from typing import Any

from cam_adv.studies.explanation_reliability.config import ReliabilityConfig

MATCHED = ("reconstruction", "real_pair", "random_latent_perturbation")
CONTROLS = (*MATCHED, "pixel_noise", "start", "transition", "real_target", "blank_image")

EFFECTS = ("instability", "unfaithfulness", "concealment", "passing")
SPREAD = {"victim": 0.05, "image": 0.3, "rest": 0.3}


def make_config(**changes: Any) -> ReliabilityConfig:
    """One attribution method, all controls; `changes` replace values."""
    values: dict[str, Any] = {
        "arms": {},
        "attributions": {"cam": {"name": "cam", "method": target("cam_adv.attributions.class_maps.cam")}},
        "controls": {name: control(name) for name in CONTROLS},
        "victims": [0, 1],
        "images": 6,
        "targets": 2,
        "confidence": 0.99,
        "level": 0.95,
        "min_effect": {"instability": 0.1, "unfaithfulness": 0.1, "concealment": 0.14, "passing": 0.08},
        "assumed": {"success": 0.8} | {effect: dict(SPREAD) for effect in EFFECTS},
        "deletion_insertion_steps": 8,
        "blur": 2.0,
        "caliper": 0.2,
        "folds": 5,
        "target_fpr": 0.05,
        "trajectories": 40,
    }
    return ReliabilityConfig(**values | changes)


def control(name: str, matched: bool | None = None) -> dict[str, Any]:
    """Settings of a control; `matched` as shipped unless given."""
    image = target(f"cam_adv.studies.explanation_reliability.controls.{name}")
    return {"name": name, "matched": name in MATCHED if matched is None else matched, "image": image}


def target(path: str) -> dict[str, Any]:
    return {"_target_": path, "_partial_": True}
