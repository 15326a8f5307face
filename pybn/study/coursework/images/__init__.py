"""Arrays (n, c, h, w): the geometry of their axes, and the verdict on the 4-D pair."""
