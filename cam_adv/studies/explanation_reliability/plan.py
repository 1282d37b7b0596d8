"""The plan of a run: what is attacked, measured and decided, and how, written before the first attack."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cam_adv.attacks.base import Attack
from cam_adv.errors import UserError
from cam_adv.runtime.atomic_files import write_atomically
from cam_adv.runtime.digest import digest
from cam_adv.runtime.source_hash import source_hash, targets_in
from cam_adv.schema.run import RunSettings
from cam_adv.studies.explanation_reliability.claims import RULES, Claims
from cam_adv.studies.explanation_reliability.config import ReliabilityConfig
from cam_adv.studies.explanation_reliability.known_attributions import EXPECTED
from cam_adv.studies.explanation_reliability.power import power_to_json, study_power

NAME = "plan.json"


@dataclass(frozen=True)
class Plan:
    """A plan, with the digest of its content."""

    content: dict[str, Any]
    digest: str

    @classmethod
    def of(
        cls, config: ReliabilityConfig, attacks: Mapping[str, Attack], settings: RunSettings, images: Sequence[str]
    ) -> "Plan":
        """
        Args:
            attacks: by the names that results are reported under.
            settings: of the run: the data, the models, which images are chosen, and the seed of all draws.
            images: digests of the images and labels of every part of the dataset.
        """
        content: dict[str, Any] = {
            **settings.model_dump(mode="json", include={"dataset", "model", "selection", "seed"}),
            "images": list(images),
            "study": config.model_dump(mode="json", exclude={"arms": {"__all__": {"attack"}}}),
            "attacks": {name: attack.model_dump(mode="json") for name, attack in attacks.items()},
            "rules": RULES,
            "known_answers": EXPECTED,
            "power": power_to_json(study_power(config)),
            "stopping": "none: every attack of every victim is run and measured once",
        }
        content["code"] = source_hash(type(config), Claims, *targets_in(content))
        return cls(content, digest(content, {}))

    def write(self, folder: Path) -> None:
        """Write `plan.json` unless the run has one.

        Raises:
            UserError: the run was begun with another plan.
        """
        path = folder / NAME
        if not path.exists():
            write_atomically(path, json.dumps({"digest": self.digest, **self.content}, indent=2) + "\n")
        elif changed := self.changes(folder):
            raise UserError(
                f"{path} is not the plan of this version of the study: it differs in {', '.join(changed)}.",
                "Resume the run with the version that it was started with, or leave resume out to start a new one.",
            )

    def changes(self, folder: Path) -> list[str]:
        """Paths of what differs between this plan and the one in the run's folder, none where they are equal."""
        written = json.loads((folder / NAME).read_text(encoding="utf-8"))
        own = json.loads(json.dumps({"digest": self.digest, **self.content}))
        return list(_differences(written, own, ""))


def _differences(first: Any, second: Any, path: str) -> Iterator[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in [*first, *(key for key in second if key not in first)]:
            yield from _differences(first.get(key), second.get(key), f"{path}.{key}" if path else key)
    elif first != second:
        yield path
