"""Study `judge_agreement`: does the judge answer as people do?"""

from cam_adv.attacks.base import Attack, Role
from cam_adv.data.human_labels import load_human_labels
from cam_adv.data.splits import ImageSplits
from cam_adv.reports.files import rates_to_json
from cam_adv.reports.terminal import print_agreement
from cam_adv.schema.run import RunSettings
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext
from cam_adv.studies.judge_agreement.agreement import judge_agreement


class JudgeAgreement(Study):
    """images: .npy file of images. labels: .npy file of the classes that people saw on them."""

    images: str | None
    labels: str | None

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return frozenset({"judge"})

    def check_data(self, settings: RunSettings, attack: Attack, splits: ImageSplits) -> None:
        """See `Study.check_data`."""
        load_human_labels(self.images, self.labels, splits.image_shape, splits.num_classes)

    def run(self, context: StudyContext) -> float:
        """How often the judge answers as people do."""
        shape, num_classes = context.splits.image_shape, context.splits.num_classes
        human_labels = load_human_labels(self.images, self.labels, shape, num_classes)
        rates = judge_agreement(context.judge, human_labels, context.device)
        print_agreement(rates)
        context.write_json(self.name, {"images": len(human_labels)} | rates_to_json(rates))
        return rates["judge"].rate
