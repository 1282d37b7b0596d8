"""How long a person waits: for the help, for a completion, for a second run."""

import os
import subprocess
import sys

from cam_adv.benchmark.comparison import Comparison, of_pairs, seconds

COMMAND = [sys.executable, "-m", "cam_adv"]


def help_text(repeats: int) -> Comparison:
    """`cam-adv --help`."""
    return _line("cam-adv --help", [*COMMAND, "--help"], {}, 1.0, max(2, repeats // 5))


def completion(repeats: int) -> Comparison:
    """The choices of a group, as a shell asks for them."""
    asked = {"COMP_LINE": "cam-adv attack=ty", "COMP_POINT": "17"}
    return _line("cam-adv attack=ty<Tab>", [*COMMAND, "-sc", "query=bash"], asked, 0.5, max(2, repeats // 5))


def second_run(repeats: int) -> Comparison:
    """`cam-adv` with all its models in the store; the first of two makes sure of that."""
    return _line("cam-adv, the second time", COMMAND, {}, 45.0, 1)


def _line(case: str, command: list[str], environment: dict[str, str], limit: float, repeats: int) -> Comparison:
    def work() -> None:
        subprocess.run(command, env=os.environ | environment, capture_output=True, check=True)

    work()
    return of_pairs(case, "what was asked for", [(seconds(work)(), limit) for _ in range(repeats)], "s", 1.0)
