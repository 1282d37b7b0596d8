"""The rules are rarely wrong in simulated studies; a thousand are simulated by the command."""

from pathlib import Path

import pytest
import torch
from reliability_config import make_config
from scipy import stats

from cam_adv.studies.explanation_reliability import false_alarms
from cam_adv.studies.explanation_reliability.false_alarms import simulate


def test_rules_are_rarely_wrong_and_see_a_large_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(false_alarms, "SHIFTS", (0.0, 4.0))
    monkeypatch.setattr(false_alarms, "PAIRS", 20)
    studies, config = 12, make_config(images=40, victims=[0, 1, 2])
    found = simulate(config, studies, seed=0)
    assert len(found) == 6
    for one in found:
        wrong = sum(getattr(one, verdict) for verdict in one.wrong)
        assert wrong * studies <= stats.binom.ppf(0.999, studies, 0.05)
    unshifted, shifted = found[-2:]
    assert unshifted.wrong == ("no",)
    assert unshifted.added == pytest.approx(0, abs=0.05)
    assert shifted.wrong == ("yes",)
    assert shifted.no > 0.8


def test_simulated_values_have_the_assumed_spread() -> None:
    config = make_config(images=3000, victims=list(range(200)))
    key = false_alarms._key(config, 60)
    values = torch.stack(
        [
            false_alarms._draw(key, config.assumed.instability, torch.Generator().manual_seed(seed))
            for seed in range(40)
        ]
    )
    assert values.mean().item() == pytest.approx(0, abs=0.02)
    assert values.std().item() == pytest.approx((0.05**2 + 2 * 0.3**2) ** 0.5, rel=0.05)
    clusters = values.reshape(40, 200, 60).mean(dim=1)
    assert torch.allclose(clusters[:, 0], clusters[:, 1], atol=0.1)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"study": {"images": 4}}'])
def test_file_that_is_no_plan_is_refused(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_text(content)
    with pytest.raises(SystemExit) as refused:
        false_alarms.main([str(plan)])
    assert refused.value.code == 2
    assert f"{plan} is no plan of this version" in capsys.readouterr().err
