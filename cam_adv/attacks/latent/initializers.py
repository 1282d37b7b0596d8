"""Real images of the perceived class to start from, ranked by the victim's log-odds of its label."""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cam_adv.attacks.latent.penalty import log_odds_of
from cam_adv.data.splits import LabelledImages
from cam_adv.errors import UserError
from cam_adv.models.generators.base import Generator
from cam_adv.models.predictions import batched_apply


class RealImageInitializer(nn.Module):
    """Codes r of real images, with the predictions of the victim and the proxies for G(r).

    codes: `(M, D)`.
    labels: `(M,)`.
    victim_logits: `(M, K)`.
    proxy_prob: `(M,)`, the proxies' mean probability of the label; 1 without proxies.
    """

    codes: Tensor
    labels: Tensor
    victim_logits: Tensor
    proxy_prob: Tensor

    def __init__(
        self,
        real: LabelledImages,
        victim: nn.Module,
        generator: Generator,
        proxies: Sequence[nn.Module],
        distance_weight: float,
        candidates: int,
        seed: int,
    ) -> None:
        """
        Args:
            real: images that the attack may start from.
            victim: f1, images to logits.
            generator: encodes and decodes them.
            proxies: image classifiers that stand in for a person; may be empty.
            distance_weight: log-odds that one unit of latent distance from z0 costs in the ranking.
            candidates: number of the best images that a start is drawn from.
            seed: of the draws.
        """
        super().__init__()
        self.distance_weight, self.candidates, self.seed = distance_weight, candidates, seed
        device = next(generator.parameters()).device
        codes = batched_apply(lambda part: generator.encode(part).mean, real.images, device)
        decoded = batched_apply(generator.decode, codes, device)

        def predict(network: nn.Module) -> Tensor:
            return batched_apply(network, decoded, device).to(device)

        labels = real.labels.to(device)
        proxy_prob = torch.ones(len(labels), device=device)
        if len(proxies):
            probs = torch.stack([predict(proxy).softmax(dim=1) for proxy in proxies]).mean(dim=0)
            proxy_prob = probs.gather(1, labels.unsqueeze(1)).squeeze(1)
        # Buffers, so that they move with the networks; not persistent, since the networks determine them.
        self.register_buffer("codes", codes.to(device), persistent=False)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("victim_logits", predict(victim), persistent=False)
        self.register_buffer("proxy_prob", proxy_prob, persistent=False)

    def start(
        self,
        rank: int,
        x: Tensor,
        z0: Tensor,
        victim_label: Tensor,
        perceived_label: Tensor,
        least_proxy_prob: float,
    ) -> Tensor:
        """The codes of a real image among those with the highest log-odds less the weighted distance to z0.

        Only real images of the perceived class are candidates, by their log-odds of the victim's label. Those that
        the proxies give that class with a probability below `least_proxy_prob` are ranked last. The best `candidates`
        are put in a random order, which depends on the seed and on x alone, not on the rest of the batch; all others
        follow by rank.

        Args:
            rank: in that order, from 0; another rank gives another image.
            x: the attacked images, `(N, C, H, W)` in [0, 1].
            z0: `(N, D)`.
            victim_label, perceived_label: `(N,)`.

        Returns:
            `(N, D)`.

        Raises:
            UserError: there is no real image of a perceived class.
        """
        init = torch.empty_like(z0)
        # 8-bit, since devices differ in the last bit of x.
        pixels = (x * 255).round().to(torch.uint8).cpu()
        for own, wanted in torch.stack([victim_label, perceived_label], dim=1).unique(dim=0).tolist():
            rows = ((victim_label == own) & (perceived_label == wanted)).nonzero().squeeze(1)
            members = (self.labels == wanted).nonzero().squeeze(1)
            if not len(members):
                raise UserError(
                    f"There is no real image of class {wanted} to start from.",
                    "Give images of every target class, or set attack.init to [mean].",
                )
            codes = self.codes[members].to(z0.dtype)
            odds = log_odds_of(self.victim_logits[members], self.labels.new_full((len(members),), own))
            unrecognised = self.proxy_prob[members] < least_proxy_prob
            # Without a matrix product, whose last bits depend on the batch.
            distance = torch.cdist(z0[rows], codes, compute_mode="donot_use_mm_for_euclid_dist")
            ranked = (odds - _LAST * unrecognised).to(z0.dtype) - self.distance_weight * distance
            drawn, place = min(self.candidates, len(members)), min(rank, len(members) - 1)
            best = ranked.topk(max(drawn, place + 1), dim=1).indices
            places = [
                int(torch.randperm(drawn, generator=self._generator(pixels[row]))[place]) if place < drawn else place
                for row in rows.tolist()
            ]
            chosen = best.gather(1, torch.tensor(places, device=best.device).unsqueeze(1)).squeeze(1)
            init[rows] = codes[chosen]
        return init

    def _generator(self, pixels: Tensor) -> torch.Generator:
        # A generator on the CPU uses 32 bits of its seed.
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed} ".encode() + pixels.numpy().tobytes()))


_LAST = 1e4
"""Larger than any difference of log-odds and distances, so that what it is subtracted from comes last."""
