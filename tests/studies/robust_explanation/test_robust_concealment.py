"""What counts as concealed, worked by hand, and how it is reported."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cam_adv.metrics.intervals import newcombe_paired, wilson
from cam_adv.plots.save import save_figure
from cam_adv.studies.robust_explanation.concealment import (
    Alarms,
    Concealment,
    ExplainedImages,
    give_alarms,
    measure_concealment,
)
from cam_adv.studies.robust_explanation.report import (
    concealment_figure,
    findings_to_json,
    print_concealment,
    warnings_about,
)

NONE = torch.zeros(4, dtype=torch.bool)
SUCCESS = torch.tensor([True, True, True, False])


def mask(*rows: int, count: int = 4) -> Tensor:
    return torch.isin(torch.arange(count), torch.tensor(rows))


def measured() -> dict[str, Concealment]:
    alarms = {"cam": Alarms(NONE, mask(0), mask(0)), "robust": Alarms(mask(1, 3), mask(0, 1, 3), NONE)}
    return measure_concealment(alarms, SUCCESS, torch.arange(4), "cam")


def test_concealed_is_a_success_without_an_alarm() -> None:
    found = measured()
    assert found["cam"].concealed == wilson(2, 4)
    assert found["robust"].concealed == wilson(1, 4)
    assert found["robust"].abstained == wilson(2, 4)
    assert (found["cam"].false_alarms, found["robust"].false_alarms) == (wilson(1, 4), wilson(0, 4))
    assert found["cam"].difference is None
    assert found["robust"].difference == newcombe_paired(1, 1, 0, 2)


def test_rates_have_intervals_for_images_that_share_a_cluster() -> None:
    alarms = {"cam": Alarms(NONE, NONE, NONE)}
    apart = measure_concealment(alarms, SUCCESS, torch.arange(4), "cam")["cam"].concealed
    together = measure_concealment(alarms, SUCCESS, torch.tensor([0, 0, 0, 1]), "cam")["cam"].concealed
    assert together.rate == pytest.approx(apart.rate)
    assert together.low < apart.low


def test_abstentions_are_alarms_and_only_maps_of_successes_that_are_shown_are_learnt_from() -> None:
    """One map in a hundred is what the others are not; the failures' maps are like honest ones."""
    generator = torch.Generator().manual_seed(0)
    honest = ExplainedImages(torch.randn(80, 4, 4, generator=generator), mask(5, count=80), torch.zeros(80).long())
    attacked = replace(honest, maps=honest.maps + 9 * torch.eye(4), abstained=mask(0, 70, count=80))
    success = torch.arange(80) < 40
    found = give_alarms(attacked, success, honest, honest, torch.arange(80), 0.05, 5, seed=0)
    assert found.alarm is not None
    assert found.false_alarm is not None
    assert found.alarm[:40].double().mean() > 0.95
    assert found.alarm[40:].nonzero().flatten().tolist() == [30]  # the abstention among the failures
    assert found.abstained.nonzero().flatten().tolist() == [0, 70]
    assert found.false_alarm[5]
    assert found.false_alarm.double().mean() < 0.1


def test_without_a_detector_nothing_is_called_concealed() -> None:
    """Four maps for five folds: only the abstentions are known. Where no map is shown, no detector is needed."""
    honest = ExplainedImages(
        torch.randn(80, 4, 4, generator=torch.Generator()), NONE.repeat(20), torch.zeros(80).long()
    )
    success, cluster = torch.arange(80) < 40, torch.arange(80)
    four = replace(honest, abstained=(torch.arange(80) >= 4))
    few = give_alarms(four, success, honest, honest, cluster, 0.05, 5, seed=0)
    assert (few.alarm, few.false_alarm) == (None, None)
    nothing = give_alarms(replace(four, abstained=success), success, honest, honest, cluster, 0.05, 5, seed=0)
    assert nothing.alarm is not None
    assert torch.equal(nothing.alarm, success)
    assert nothing.false_alarm is None
    found = measure_concealment({"cam": few, "robust": nothing}, success, cluster, "cam")
    assert found["cam"] == Concealment(None, wilson(76, 80), None, None)
    assert found["robust"] == Concealment(wilson(0, 80), wilson(40, 80), None, None)


def test_rates_that_are_not_known_are_named_and_have_no_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    unknown = replace(measured()["cam"], concealed=None, false_alarms=None)
    findings = {"type1": {"cam": unknown}, "unchanged": {"cam": measured()["cam"]}}
    (warning,) = warnings_about(findings, {"cam": 0.5}, 5)
    assert warning.startswith(
        "too few: a detector of maps needs maps of successful attacks from study.folds=5 starts"
    )
    print_concealment(findings, "heading", [warning])
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "type1" in line)
    assert row.count("too few") == 2
    assert "%" not in row
    content = json.loads(json.dumps(findings_to_json(findings, {}, {"cam": None}, [warning])))
    assert content["attacks"]["type1"]["cam"]["concealed"] is None
    assert content["attacks"]["type1"]["cam"]["false_alarms"] is None
    figure = concealment_figure(findings, "heading")
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [pytest.approx(float("nan"), nan_ok=True), 0.5]
    assert [text.get_text() for text in figure.axes[0].texts] == ["too few"]


def test_warning_where_unattacked_images_give_more_alarms_than_by_chance() -> None:
    """Whatever their rate is: alarms that depend on each other spread more than a binomial interval says."""
    low = replace(measured()["cam"], concealed=wilson(80, 100))
    findings = {"unchanged": {"a": low, "b": low}}
    assert warnings_about(findings, {"a": 0.06, "b": None}, 5) == []
    (warning,) = warnings_about(findings, {"a": 0.06, "b": 0.05}, 5)
    assert warning.startswith("b gives more alarms on unattacked images than on honest ones (p = 0.05)")


def test_report_has_every_number_and_a_bar_for_each(tmp_path_factory: pytest.TempPathFactory) -> None:
    findings = {"type1": measured(), "unchanged": measured()}
    content = json.loads(json.dumps(findings_to_json(findings, {"honest": 7}, {"cam": 0.5}, ["a warning"])))
    assert content["attacks"]["type1"]["robust"]["concealed"] == pytest.approx(vars(wilson(1, 4)))
    assert content["attacks"]["type1"]["robust"]["difference"]["estimate"] == pytest.approx(-0.25)
    assert (content["honest"], content["unchanged_p"], content["warnings"]) == (7, {"cam": 0.5}, ["a warning"])
    figure = concealment_figure(findings, "heading")
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [0.5, 0.5, 0.25, 0.25]
    save_figure(figure, tmp_path_factory.mktemp("figure") / "concealment.png")
