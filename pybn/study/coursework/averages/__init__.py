"""What a training step stores: the rule that gives it, and the verdict."""
