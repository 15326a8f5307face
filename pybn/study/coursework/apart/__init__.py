"""A student in a process of its own: what crosses is numbers, and the verdict is formed on this side.

`wire` says what may cross, `limits` what the other process may do, `guest` is that process, `host` asks it.
"""
