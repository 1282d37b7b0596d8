"""Study `train`: train the models of one role and do no more."""

from cam_adv.attacks.base import Attack, Role
from cam_adv.studies.base import Study
from cam_adv.studies.context import StudyContext


class Train(Study):
    """role: which models are trained."""

    role: Role

    def roles(self, attack: Attack) -> frozenset[Role]:
        """See `Study.roles`."""
        return frozenset({self.role})

    def run(self, context: StudyContext) -> None:
        """Nothing is left to do: the models are trained, and the store keeps them."""
