"""Study `judge_agreement`: does the judge answer as people do?"""

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.human_labels import load_human_labels
from cam_adv.data.splits import ImageSplits
from cam_adv.reports.files import rates_to_json
from cam_adv.reports.terminal import print_agreement
from cam_adv.schema.run import RunSettings
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext
from cam_adv.studies.judge_agreement.agreement import TEXTS, judge_agreement


class JudgeAgreement(Study):
    """images: .npy file of images. labels: .npy file of what people saw in them, of one reader or of several; −1:
    nothing."""

    images: str | None
    labels: str | None

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return frozenset({"judge"})

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        load_human_labels(self.images, self.labels, splits.image_shape, splits.num_classes)

    def run(self, context: StudyContext) -> float | None:
        """How often the judge reads what people read, among the pictures in which it and they all see a class."""
        shape, num_classes = context.splits.image_shape, context.splits.num_classes
        human_labels = load_human_labels(self.images, self.labels, shape, num_classes)
        rates = judge_agreement(context.judge, human_labels, context.splits.test, context.device)
        print_agreement({TEXTS[name]: rate for name, rate in rates.items()})
        counts = {
            "images": len(human_labels),
            "readers": human_labels.labels.shape[1],
            "agreed": int(human_labels.agreed.sum()),
            "nothing": int(human_labels.nothing.sum()),
        }
        context.write_json(self.name, counts | rates_to_json(rates))
        return rates["agreed_right"].rate if "agreed_right" in rates else None
