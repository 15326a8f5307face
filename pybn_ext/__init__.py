"""The compiled twin of `pybn.reference`: the same functions, signatures, errors and results."""

raise ModuleNotFoundError(
    "pybn_ext is not compiled in this installation: install a C compiler (gcc, clang or MSVC) and run "
    "`pip install --force-reinstall --no-cache-dir pybn` again; `pybn` itself works without it, on the reference",
    name="pybn_ext",
)
