"""Where to start: real pictures of class y' that the victim already takes a little for y."""

import torch
from torch import Tensor, nn

from cam_adv.attack.multiplier import log_odds_of
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.networks.predictions import in_batches
from cam_adv.networks.svae import SVAE


class Lookalikes(nn.Module):
    """Codes r of real images, with what the victim and the proxies say of G(r).

    codes: `(M, D)`; labels: `(M,)`; victim_logits: `(M, K)`; believed: `(M,)`, the proxies' probability of the label.
    digest: of the real images.
    """

    def __init__(
        self, real: LabelledImages, victim: nn.Module, generator: SVAE, proxies: nn.ModuleList, distance_weight: float
    ) -> None:
        """
        Args:
            real: images that a walk may start from.
            victim: f1, images to logits.
            generator: encodes them and draws their codes.
            proxies: image classifiers that stand in for a person; may be none.
            distance_weight: log-odds that a start may cost for each unit of latent distance that it is nearer to z0.
        """
        super().__init__()
        self.distance_weight = distance_weight
        self.digest = real.digest()
        device = next(generator.parameters()).device
        codes = in_batches(lambda part: generator.encode(part).mean, real.images, device)
        drawn = in_batches(generator.generate, codes, device)

        def ask(network: nn.Module) -> Tensor:
            return in_batches(network, drawn, device).to(device)

        labels = real.labels.to(device)
        believed = torch.ones(len(labels), device=device)
        if len(proxies):
            probs = torch.stack([ask(proxy).softmax(dim=1) for proxy in proxies]).mean(dim=0)
            believed = probs.gather(1, labels.unsqueeze(1)).squeeze(1)
        for name, value in (
            ("codes", codes.to(device)),
            ("labels", labels),
            ("victim_logits", ask(victim)),
            ("believed", believed),
        ):
            self.register_buffer(name, value, persistent=False)

    def start(self, rank: int, z0: Tensor, y: Tensor, target: Tensor, believed: float) -> Tensor:
        """The codes `(N, D)` with the `rank`-th highest log-odds of y less the weighted distance to z0.

        Only real pictures of class y' are taken, and those whose G(r) the proxies don't give y' with at least
        `believed` come last: a start must be one that is recognised.

        Raises:
            UserError: there is no real picture of a class y'.
        """
        starts = torch.empty_like(z0)
        for own, wanted in torch.stack([y, target], dim=1).unique(dim=0).tolist():
            rows = ((y == own) & (target == wanted)).nonzero().squeeze(1)
            members = (self.labels == wanted).nonzero().squeeze(1)
            if not len(members):
                raise UserError(
                    f"There is no real image of class {wanted} to start from.",
                    "Give images of every target class, or set attack.starts to [mean].",
                )
            codes = self.codes[members].to(z0.dtype)
            odds = log_odds_of(self.victim_logits[members], self.labels.new_full((len(members),), own))
            unlike = self.believed[members] < believed
            ranked = (odds - _LAST * unlike).to(z0.dtype) - self.distance_weight * torch.cdist(z0[rows], codes)
            chosen = ranked.topk(min(rank + 1, len(members)), dim=1).indices[:, -1]
            starts[rows] = codes[chosen]
        return starts


_LAST = 1e4
"""More than any log-odds and distances differ by."""
