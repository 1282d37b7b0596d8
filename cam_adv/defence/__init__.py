"""What adversarial training does against each kind of attack."""
