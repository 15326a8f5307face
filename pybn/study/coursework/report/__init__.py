"""What is said: findings in words, the smallest examples, the report."""
