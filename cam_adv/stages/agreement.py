"""Stage "agreement": does the judge answer as people do?"""

from pathlib import Path

from cam_adv.data.splits import LabelledImages
from cam_adv.evaluation.agreement import agreement
from cam_adv.hardware.devices import main_device
from cam_adv.report import files, terminal
from cam_adv.settings import Settings
from cam_adv.training.workshop import Models


def run(settings: Settings, models: Models, people: LabelledImages, folder: Path) -> float:
    """How often the judge answers as people do."""
    rates = agreement(models.judges(), people, main_device(settings.hardware))
    files.write_summary(files.summary(rates, {"pictures": len(people)}), folder / "agreement.json")
    terminal.print_agreement(rates)
    terminal.print_paths(folder, settings.outputs)
    return rates["judge"].rate
