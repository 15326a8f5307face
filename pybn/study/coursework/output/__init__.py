"""Outputs, of training and of test mode: the formula that gives them, and the verdict."""
