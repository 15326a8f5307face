"""What pytest does not look into for examples, because what it imports is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("torch") else ["pybn/bridges/tensors.py", "pybn/bridges/torch.py"]
