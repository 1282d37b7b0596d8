"""The terms of the latent objective, each recomputed from the networks."""

import pytest
import torch
from random_networks import images, networks

from cam_adv.attacks.latent.objective import LossWeights, Terms, evaluate


def test_total_by_hand() -> None:
    one = torch.ones(2)
    terms = Terms(3 * one, 5 * one, 7 * one, 11 * one, 13 * one, one[:, None])
    weights = LossWeights(f2=1, surrogates=2, discriminator=0.5, norm=0.1)
    assert terms.total(weights, torch.tensor([0.0, 30.0])).tolist() == pytest.approx([25.8, 55.8])


def test_evaluate_without_spread_is_each_network_at_the_code_or_its_image() -> None:
    victim, generator, surrogates = networks()
    codes, given = torch.randn(3, 5, dtype=torch.float64), images()[:3]
    y, target = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3])
    terms = evaluate(
        victim, generator, surrogates, codes, given, torch.zeros_like(codes), y, target, torch.randn(7, 5)
    )
    rows = torch.arange(3)
    f2 = generator.classifier(codes).log_softmax(dim=1)[rows, target]
    log_probs = torch.stack([one(given).log_softmax(dim=1)[rows, target] for one in surrogates])
    assert torch.allclose(terms.f2, -f2)
    assert torch.allclose(terms.log_odds, victim(given).softmax(dim=1)[rows, y].logit())
    assert torch.allclose(terms.norm, codes.square().sum(dim=1).sqrt())
    assert torch.allclose(terms.surrogates, -log_probs.mean(dim=0))
    assert torch.allclose(terms.proxy_log_prob.exp(), log_probs.exp().mean(dim=0))
    assert torch.allclose(terms.discriminator, -generator.discriminator(codes).sigmoid().log().squeeze(1))


def test_evaluate_without_proxies_uses_f2_for_the_score() -> None:
    victim, generator, _ = networks()
    codes, y, target = torch.randn(2, 5, dtype=torch.float64), torch.tensor([0, 1]), torch.tensor([1, 2])
    terms = evaluate(
        victim, generator, [], codes, images()[:2], torch.zeros_like(codes), y, target, torch.zeros(1, 5)
    )
    assert torch.allclose(terms.proxy_log_probs, -terms.f2[:, None])


def test_evaluate_with_spread_averages_f2_over_the_neighbourhood() -> None:
    victim, generator, _ = networks()
    codes, eps = torch.randn(1, 5, dtype=torch.float64), torch.randn(6, 5, dtype=torch.float64)
    std = torch.full_like(codes, 0.4)
    terms = evaluate(victim, generator, [], codes, images()[:1], std, torch.tensor([0]), torch.tensor([1]), eps)
    by_hand = -generator.classifier(codes + 0.4 * eps).log_softmax(dim=1)[:, 1].mean()
    assert terms.f2.item() == pytest.approx(by_hand.item(), abs=1e-12)
