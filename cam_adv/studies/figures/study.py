"""Study `figures`: draw the figures of a finished attack from its results."""

from pathlib import Path
from typing import ClassVar

from cam_adv.attacks.base import Attack
from cam_adv.data.splits import ImageSplits
from cam_adv.errors import UserError
from cam_adv.pages.render import RUN_PAGE
from cam_adv.plots.drawing import Drawing
from cam_adv.schema.run import RunSettings
from cam_adv.studies.attack.figures import draw_run
from cam_adv.studies.attack.finished_attack import FinishedAttack
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext


class Figures(Study):
    """Draws into the folder of the attack what the attack itself would have drawn with `figures=true`.

    run_folder: of the attack.

    Raises:
        UserError: it is no finished attack, or had `figures=false`; see `FinishedAttack.load`.
    """

    needs_images: ClassVar[bool] = False

    run_folder: str

    def check(self, settings: RunSettings, attack: Attack) -> None:
        """See `Study.check`."""
        if not settings.figures:
            raise UserError("figures=false, but study=figures does nothing else than draw.", "Leave figures out.")

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        FinishedAttack.load(Path(self.run_folder))

    def run(self, context: StudyContext) -> None:
        """See `Study.run`."""
        run = FinishedAttack.load(Path(self.run_folder))
        drawing = Drawing(run.folder / "figures", debug=context.settings.debug)
        draw_run(run, drawing)
        if drawing.failed:
            raise UserError(
                f"{len(drawing.failed)} of the figures of {run.folder} can't be drawn, for the reasons above.",
                "Correct them and start the command again, with debug=true for the tracebacks.",
            )
        drawn = sorted(path.name for path in drawing.folder.iterdir())
        print(f"figures   {drawing.folder}")
        print(f"page      {run.folder / RUN_PAGE}")
        context.write_json(self.name, {"run": str(run.folder), "figures": drawn})
