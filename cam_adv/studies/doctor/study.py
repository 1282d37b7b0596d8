"""Study `doctor`: what is installed, what a run would compute on, and what the store of models holds."""

import time
from dataclasses import asdict
from typing import ClassVar, Literal

from cam_adv.runtime.installed import devices, extras, versions
from cam_adv.schema.fields import NotNegative
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext
from cam_adv.studies.doctor.report import KEPT, REMOVED, extras_text, print_facts, print_store
from cam_adv.training.stored_models import STALE, StoredModel, stored_models

DAY = 86400.0


class Doctor(Study):
    """Loads no images, trains nothing, and removes only models that `prune` names and no run uses.

    Its fields are explained in `conf/study/doctor.yaml`.
    """

    needs_images: ClassVar[bool] = False

    prune: Literal["stale", "unused"] | None
    unused_days: NotNegative

    def run(self, context: StudyContext) -> None:
        """See `Study.run`."""
        store = context.settings.outputs / "models"
        installed, hardware, optional = versions(), devices(context.settings.hardware), extras()
        print_facts("versions", ("package", "version"), installed)
        print_facts("devices", ("device", ""), hardware)
        print_facts("optional packages", ("extra", ""), extras_text(optional))
        models, now = stored_models(store), time.time()
        chosen = [model for model in models if self.chooses(model, now)]
        fates = {model.folder: REMOVED if model.remove() else KEPT for model in chosen}
        print_store(store, models, fates)
        content = [asdict(model) | {"folder": model.folder.name, "fate": fates.get(model.folder)} for model in models]
        context.write_json(
            self.name,
            {
                "versions": installed,
                "devices": hardware,
                "extras": optional,
                "store": str(store.absolute()),
                "models": content,
            },
        )

    def chooses(self, model: StoredModel, now: float) -> bool:
        """Whether `prune` names a model.

        Args:
            now: in seconds since the epoch.
        """
        unused = self.prune == "unused" and now - model.last_used > self.unused_days * DAY
        return unused or (self.prune is not None and model.state in STALE)
