"""Waiting times of the command line: the help, a shell completion, and a run whose models are trained already."""

import os
import subprocess
import sys

from cam_adv.benchmark.comparison import Comparison, compare_pairs, timed

COMMAND = [sys.executable, "-m", "cam_adv"]


def help_text(repeats: int) -> Comparison:
    """`cam-adv --help`."""
    return _time_command("cam-adv --help", [*COMMAND, "--help"], {}, 1.0, max(2, repeats // 5))


def completion(repeats: int) -> Comparison:
    """The choices of a config group, as a shell requests them."""
    request = {"COMP_LINE": "cam-adv attack=ty", "COMP_POINT": "17"}
    command = [*COMMAND, "-sc", "query=bash"]
    return _time_command("cam-adv attack=ty<Tab>", command, request, 0.5, max(2, repeats // 5))


def second_run(repeats: int) -> Comparison:
    """`cam-adv` with all its models in the store: a first run trains those that are missing."""
    return _time_command("cam-adv, the second time", COMMAND, {}, 25.0, 1)


def _time_command(
    case: str, command: list[str], environment: dict[str, str], limit: float, repeats: int
) -> Comparison:
    def work() -> None:
        subprocess.run(command, env=os.environ | environment, capture_output=True, check=True)

    work()
    return compare_pairs(case, "time limit", [(timed(work)(), limit) for _ in range(repeats)], "s", 1.0)
