"""pybn inside other libraries, each bridge in a module of its own that needs that library.

`pybn.bridges.torch` has PyTorch's layers over pybn's operations.  Importing `pybn` imports no bridge.
"""
