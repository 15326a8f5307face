"""Implementations held against each other: how far their results are apart, and how long each takes.

print(pybn.study.compare())                       # the reference against the compiled twin
pybn.study.compare({"reference": pybn.reference, "mine": my_module})
"""

from pybn.study.compare.command import main
from pybn.study.compare.comparison import Comparison, compare
from pybn.study.compare.rows import Row

__all__ = ["Comparison", "Row", "compare", "main"]
