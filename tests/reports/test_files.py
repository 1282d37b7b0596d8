"""The data files of an attack and the printed funnel, from an evaluation by hand."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hand_made_evaluation import COUNT, NAMES, attack_evaluation
from safetensors.torch import load_file

from cam_adv.metrics.evaluation import AttackEvaluation
from cam_adv.metrics.funnel import QUESTIONS
from cam_adv.metrics.intervals import Rate, clustered_rate, wilson
from cam_adv.reports.files import attack_rates, rates_to_json, write_attack, write_results
from cam_adv.reports.terminal import print_attack

STARTS = ["mean", "real_image"]


def with_starts(evaluation: AttackEvaluation, codes: list[float], y: list[int]) -> AttackEvaluation:
    """The same results from other starts: the codes have one number each."""
    z_start = torch.tensor(codes).reshape(-1, 1)
    return replace(evaluation, result=replace(evaluation.result, z_start=z_start, y=torch.tensor(y)))


class TestAttackEvaluation:
    def test_clusters_are_of_equal_start_and_class(self) -> None:
        found = with_starts(attack_evaluation(), [0.5, 0.5, -1.0, 0.5, -1.0], [0, 0, 1, 1, 1]).cluster
        assert found[0] == found[1]
        assert found[2] == found[4]
        assert len(found.unique()) == 3

    def test_without_starts_each_result_is_a_cluster(self) -> None:
        assert attack_evaluation().result.z_start is None
        assert attack_evaluation().cluster.tolist() == list(range(COUNT))

    def test_residual_is_what_x_adv_has_beyond_the_generated_image(self) -> None:
        evaluation = attack_evaluation()
        assert evaluation.generated is not None
        assert torch.equal(
            replace(evaluation, generated=evaluation.result.x_adv).residual, torch.zeros(COUNT, 1, 8, 12)
        )
        lower = replace(evaluation, generated=evaluation.result.x_adv - 0.25)
        torch.testing.assert_close(lower.residual, torch.full((COUNT, 1, 8, 12), 0.25))
        assert replace(evaluation, generated=None).residual is None

    def test_perceived_label_is_the_class_that_a_success_shows(self) -> None:
        evaluation = attack_evaluation()
        assert torch.equal(evaluation.perceived_label, evaluation.result.target)
        assert torch.equal(replace(evaluation, kind="type2").perceived_label, evaluation.result.y)


class TestAttackRates:
    def test_are_the_shares_of_yes_by_hand(self) -> None:
        """See `attack_evaluation`; f2 says what the victim says, which is y' in the second only."""
        rates = attack_rates(attack_evaluation(), ["mean"])
        assert {name: rate.rate for name, rate in rates.items()} == pytest.approx(
            {
                "attempted": 1.0,
                "victim_keeps": 0.6,
                "plausible": 0.8,
                "judge_reads_target": 0.6,
                "success": 0.4,
                "judge_reads_source": 0.2,
                "judge_reads_nothing": 0.2,
                "f2_reads_perceived": 0.4,
            }
        )
        assert rates.pop("attempted") == Rate(1, 1, 1)
        assert all(rate == wilson(round(5 * rate.rate), 5) for rate in rates.values())

    def test_what_is_read_without_the_residual_is_a_control(self) -> None:
        evaluation = attack_evaluation()
        wanted = evaluation.result.target
        reads = torch.where(torch.arange(5) < 3, wanted, (wanted + 1) % 3)
        rates = attack_rates(replace(evaluation, generated_reads=reads), ["mean"])
        assert rates["generated_reads_perceived"] == wilson(3, 5)
        assert rates["success"] == attack_rates(evaluation, ["mean"])["success"]

    def test_intervals_are_wider_for_results_that_share_their_start(self) -> None:
        evaluation = with_starts(attack_evaluation(), [0.0, 1.0, 2.0, 0.0, 1.0], [0] * 5)
        shared, alone = attack_rates(evaluation, ["mean"]), attack_rates(attack_evaluation(), ["mean"])
        success = [True, False, False, True, False]
        assert shared["success"] == clustered_rate(success, [0, 1, 2, 0, 1])
        assert shared["success"].high - shared["success"].low > alone["success"].high - alone["success"].low

    def test_several_starts_have_a_rate_of_each(self) -> None:
        """Three results are from the first start, with the first as a success; two from the second, with one."""
        rates = attack_rates(attack_evaluation(), STARTS)
        assert rates["success_from_mean"] == wilson(1, 3)
        assert rates["success_from_real_image"] == wilson(1, 2)
        assert set(attack_rates(attack_evaluation(), ["mean"])) == {*QUESTIONS, "f2_reads_perceived"}

    def test_equal_starts_have_one_rate(self) -> None:
        """The second and third "real_image" are other images of the same kind."""
        evaluation = attack_evaluation()
        result = replace(evaluation.result, start=torch.tensor([0, 0, 1, 2, 2]))
        rates = attack_rates(replace(evaluation, result=result), ["mean", "real_image", "real_image"])
        assert rates["success_from_mean"] == wilson(1, 2)
        assert rates["success_from_real_image"] == wilson(1, 3)

    def test_json_has_all_ends(self) -> None:
        rates = attack_rates(attack_evaluation(), STARTS)
        content = rates_to_json(rates)
        assert content["success"] == {"rate": 0.4, "low": rates["success"].low, "high": rates["success"].high}
        assert list(content) == list(rates)


class TestFiles:
    @pytest.fixture
    def rows(self, tmp_path: Path) -> list[dict[str, str]]:
        write_results(attack_evaluation(), torch.arange(10, 15), STARTS, NAMES, tmp_path / "results.csv")
        with (tmp_path / "results.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def test_results_say_what_the_judge_reads_in_words(self, rows: list[dict[str, str]]) -> None:
        """In the last x' it reads nothing, although its likeliest class is y."""
        dots, houses, stripes = NAMES
        assert [row["judge_reads_x_adv"] for row in rows] == [houses, stripes, houses, dots, "nothing"]
        assert [row["judge_x_adv"] for row in rows] == [houses, stripes, houses, dots, stripes]
        assert [row["judge_reads_x"] for row in rows] == [dots, dots, houses, houses, stripes]

    def test_results_have_each_answer_and_measure(self, rows: list[dict[str, str]]) -> None:
        answers = {name: [int(row[name]) for row in rows] for name in QUESTIONS if name != "attempted"}
        assert answers == {
            "victim_keeps": [1, 0, 1, 1, 0],
            "plausible": [1, 1, 1, 1, 0],
            "judge_reads_target": [1, 1, 0, 1, 0],
            "success": [1, 0, 0, 1, 0],
            "judge_reads_source": [0, 0, 1, 0, 0],
            "judge_reads_nothing": [0, 0, 0, 0, 1],
        }
        assert [row["start"] for row in rows] == ["mean"] * 3 + ["real_image"] * 2
        assert [int(row["index"]) for row in rows] == list(range(10, 15))
        assert {row["residual"] for row in rows} == {"0.000000"}

    def test_columns_about_a_sample_are_called_after_it(self, tmp_path: Path) -> None:
        evaluation = attack_evaluation()
        written = []
        for name, one in (("x", evaluation), ("sample", replace(evaluation, from_samples=True))):
            write_results(one, torch.arange(5), STARTS, NAMES, tmp_path / f"{name}.csv")
            written.append((tmp_path / f"{name}.csv").read_text().splitlines())
        before, after = (set(lines[0].split(",")) for lines in written)
        assert {name.replace("_sample", "_x") for name in after} == before
        assert {name for name in before - after} == {
            *(f"{network}_x{suffix}" for network in ("victim", "judge", "f2") for suffix in ("", "_confidence")),
            "judge_reads_x",
            "plausibility_x",
        }
        assert written[0][1:] == written[1][1:]

    def test_tensors_hold_what_the_study_reading_needs(self, tmp_path: Path) -> None:
        evaluation = attack_evaluation()
        write_attack(evaluation, torch.arange(COUNT), tmp_path / "attack.safetensors")
        tensors = load_file(tmp_path / "attack.safetensors")
        assert torch.equal(tensors["judge_reads"], evaluation.on_x_adv.judge_reads)
        assert torch.equal(tensors["reconstruction"], evaluation.reconstruction)
        assert torch.equal(tensors["cluster"], evaluation.cluster)
        assert torch.equal(tensors["start_image"], evaluation.result.x)
        write_attack(replace(evaluation, start_image=None, generated=None), torch.arange(COUNT), tmp_path / "b")
        assert not {"start_image", "generated"} & set(load_file(tmp_path / "b"))


def test_printed_funnel_is_in_the_order_of_its_questions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rates = attack_rates(attack_evaluation(), STARTS)
    print_attack("type1", "an attack", rates, {"images": 5, "seconds": 2.5})
    lines = capsys.readouterr().out.splitlines()
    texts = [
        "attempted",
        "the victim keeps y",
        "plausible: the judge reads a class",
        "the judge reads y'",
        "success: the victim keeps y, the judge reads y'",
        "beside: the judge reads y",
        "beside: the judge reads nothing",
        "success of the results that started from mean",
        "success of the results that started from real_image",
        "f2, which the attack optimises, as the judge",
    ]
    printed = [line.split("│")[1].strip() for line in lines if line.count("│") == 4]
    assert printed == texts
    (success,) = (line for line in lines if "success: the victim" in line)
    low, high = rates["success"].low, rates["success"].high
    assert [cell.strip() for cell in success.split("│")[2:4]] == ["40.0%", f"{low:.1%} to {high:.1%}"]
    assert "images 5  seconds 2.5" in lines
