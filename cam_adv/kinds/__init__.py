"""Attacks of both kinds on one victim: where they move its ROC curves, who sees them, what they change."""
