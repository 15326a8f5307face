"""The extension modules and how they are built; everything else is in pyproject.toml."""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

REQUIRED = os.environ.get("PYBN_REQUIRE_EXT") == "1"
CHECK = os.environ.get("PYBN_CHECK", "")  # "bounds", "sanitize", or "scalar": as without gcc and clang
LEVELS = os.environ.get("PYBN_LEVELS", "sse2 avx2 avx512").split()  # fewer are compiled sooner

# No -ffast-math: NaN must survive.  No contraction to fused multiply-add: it would make the bits
# depend on the level.  -O3 because gcc's -O2 leaves the loops 3 to 5 times slower.
UNIX_FLAGS = [
    "-O3",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-fno-tree-loop-distribute-patterns",  # a memset of one tile costs 8 % of its sums
]
MODULES = {"sse2": "_baseline", "avx2": "_avx2", "avx512": "_avx512"}
LEVEL_FLAGS = {
    "_baseline": [],
    "_avx2": ["-march=x86-64-v3", "-mtune=generic"],
    "_avx512": ["-march=x86-64-v4", "-mtune=generic", "-mprefer-vector-width=512"],
}
MSVC_FLAGS = ["/O2", "/fp:precise"]  # prepared, never run
INCLUDED = sorted(str(path) for path in Path("pybn_ext").glob("*.pxi"))

OPENMP_PROGRAM = """
#include <omp.h>
int main(void) {
    int threads = 0;
    #pragma omp parallel num_threads(2)
    #pragma omp atomic
    threads++;
    return threads < 1;
}
"""


if CHECK not in ("", "bounds", "sanitize", "scalar"):
    sys.exit(f"PYBN_CHECK must be bounds, sanitize or scalar, got {CHECK!r}")


def levels():
    """The modules to build: one for each level of x86-64 under gcc and clang, else the plain one."""
    if not LEVELS or not set(LEVELS) <= set(MODULES):
        sys.exit(f"PYBN_LEVELS must name some of {list(MODULES)}, got {LEVELS}")
    on_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return [MODULES[level] for level in LEVELS] if on_x86 and os.name == "posix" else ["_baseline"]


class Build(build_ext):
    """build_ext with flags by compiler, and OpenMP where a program with it compiles, links and runs."""

    def finalize_options(self):
        """Compile the modules side by side: one takes a minute, and there are several."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        """Add the flags, then build."""
        msvc = self.compiler.compiler_type == "msvc"
        openmp = ["/openmp"] if msvc else ["-fopenmp"]
        has_openmp = os.environ.get("PYBN_OPENMP", "1") != "0" and self.runs(OPENMP_PROGRAM, openmp)
        for extension in self.extensions:
            name = extension.name.rpartition(".")[2]
            flags = MSVC_FLAGS if msvc else UNIX_FLAGS + LEVEL_FLAGS.get(name, [])
            if CHECK == "sanitize":
                sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1"]
                flags = flags + sanitizers
                extension.extra_link_args += sanitizers[:1]
            if CHECK in ("bounds", "scalar"):
                extension.define_macros.append((f"PYBN_CHECK_{CHECK.upper()}", "1"))
            if has_openmp and name != "_cpu":
                flags = flags + openmp
                extension.extra_link_args += [] if msvc else openmp
            extension.extra_compile_args += flags
            extension.define_macros += [
                ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
                ("PYBN_FLAGS", '"' + " ".join(flags) + '"'),
            ]
        super().build_extensions()

    def runs(self, program, flags):
        """Whether `program` compiles and links with `flags`, and returns 0."""
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "probe.c")
            source.write_text(program)
            try:
                objects = self.compiler.compile([str(source)], output_dir=directory, extra_postargs=flags)
                self.compiler.link_executable(objects, "probe", output_dir=directory, extra_postargs=flags)
                return subprocess.run([str(Path(directory, "probe"))], check=False).returncode == 0
            except Exception as error:  # whatever a compiler can do wrong: then there is no OpenMP
                print(f"no OpenMP ({error}); building without threads", file=sys.stderr)
                return False


def extensions():
    """The modules, C generated outside the source tree."""
    names = ["_cpu", *levels()]
    modules = cythonize(
        [
            Extension(
                f"pybn_ext.{name}", [f"pybn_ext/{name}.pyx"], depends=INCLUDED, include_dirs=[numpy.get_include()]
            )
            for name in names
        ],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "binding": True,
            "boundscheck": CHECK == "bounds",
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    )
    for module in modules:
        module.optional = not REQUIRED  # cythonize drops what was given to Extension
    return modules


setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
