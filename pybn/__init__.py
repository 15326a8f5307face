from pybn import reference
