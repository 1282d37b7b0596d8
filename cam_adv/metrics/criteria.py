"""What the victim and the judge must answer for a success, in words, by the kind of attack. Needs no torch."""

VICTIM_CRITERION = {"type1": "the victim says y", "type2": "the victim says another class than y"}
JUDGE_CRITERION = {"type1": "the judge says y'", "type2": "the judge says y"}
