"""What a verdict's questions ask, in words, by the kind of attack: "type1" or "type2"."""

KEPT = {"type1": "the victim says y", "type2": "the judge says y"}
CHANGED = {"type1": "the judge says y'", "type2": "the victim says another class than y"}
JUDGED = {"type1": "changed", "type2": "kept"}
"""The question that the judge answers; the other is the victim's."""
