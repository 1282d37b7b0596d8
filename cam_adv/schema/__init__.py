"""The typed sections of the config: types, ranges and choices, checked before any data is loaded."""
