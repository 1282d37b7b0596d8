"""What a study shows: its figures and tables. Nothing here trains, attacks or judges."""
