"""The questions from an attempt to a success, in words and in their order. Needs no torch."""

from collections.abc import Mapping

from cam_adv.metrics.intervals import Rate

FUNNEL = ("attempted", "victim_keeps", "plausible", "judge_reads_target", "success")
"""Keys of `summary.json` in the order of the funnel of a Type I attack; each rate is over all attempted images."""

BESIDE = ("judge_reads_source", "judge_reads_nothing")
"""Further keys: what the judge reads instead."""

ATTEMPTED = Rate(1.0, 1.0, 1.0)
"""The share of the attempted images that were attempted: where the funnel begins, no estimate."""

QUESTIONS = (*FUNNEL, *BESIDE)

SUCCESS = {
    "type1": "success: the victim keeps y, the judge reads y'",
    "type2": "success: the victim leaves y, the judge reads y",
}
VICTIM = {"type1": "the victim keeps y", "type2": "the victim leaves y"}
FROM_SAMPLES = "keeps y", "says y"
"""What replaces what where an attack starts from samples of y', of which the victim did not say y before."""
JUDGE = {"type1": "the judge reads y'", "type2": "the judge reads y"}


def rows(kind: str, rates: Mapping[str, Rate], from_samples: bool = False) -> list[tuple[str, Rate]]:
    """The funnel as lines of a table: what is asked, and how often it is so.

    Args:
        kind: "type1" or "type2".
        rates: by the keys `QUESTIONS`.
        from_samples: whether the attack starts from samples of y' instead of images of y.
    """
    other = "judge_reads_source" if kind == "type1" else "judge_reads_target"
    return [
        ("attempted", rates["attempted"]),
        (victim_text(kind, from_samples), victim_rate(kind, rates)),
        ("plausible: the judge reads a class", rates["plausible"]),
        (JUDGE[kind], judge_rate(kind, rates)),
        (success_text(kind, from_samples), rates["success"]),
        ("beside: the judge reads y" if kind == "type1" else "beside: the judge reads y'", rates[other]),
        ("beside: the judge reads nothing", rates["judge_reads_nothing"]),
    ]


def victim_text(kind: str, from_samples: bool = False) -> str:
    """What is asked of the victim, in words; see `rows`."""
    return VICTIM[kind].replace(*FROM_SAMPLES) if from_samples else VICTIM[kind]


def success_text(kind: str, from_samples: bool = False) -> str:
    """What a success is, in words; see `rows`."""
    return SUCCESS[kind].replace(*FROM_SAMPLES) if from_samples else SUCCESS[kind]


def victim_rate(kind: str, rates: Mapping[str, Rate]) -> Rate:
    """How often the victim does what the kind of attack asks of it."""
    keeps = rates["victim_keeps"]
    return keeps if kind == "type1" else Rate(1 - keeps.rate, 1 - keeps.high, 1 - keeps.low)


def judge_rate(kind: str, rates: Mapping[str, Rate]) -> Rate:
    """How often the judge reads what the kind of attack asks of it."""
    return rates["judge_reads_target" if kind == "type1" else "judge_reads_source"]
