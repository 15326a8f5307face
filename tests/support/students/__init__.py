"""Students' solutions, right and wrong, each written in a way of its own; none uses what checks it."""
