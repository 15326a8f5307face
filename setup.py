"""The extension modules and how they are built; everything else is in pyproject.toml.

The environment variables that it reads (docs/developing.rst tells each): PYBN_LEVELS, PYBN_REQUIRE_EXT, PYBN_OPENMP,
PYBN_LIMITED_API, PYBN_CHECK.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

# The compiler's error: "file.c:3:10: fatal error: no such file", "gcc: error: ...", MSVC's "error C2065: ..."
ERROR_LINE = re.compile(r"^.*\berror\b.*$", re.IGNORECASE | re.MULTILINE)
FAILURES = "build_failures.txt"  # in pybn_ext: a line for each module that did not compile


def switch(name):
    """What a variable of the environment says that is 1 for yes and 0 for no; None where it is not set."""
    value = os.environ.get(name)
    if value not in (None, "0", "1"):
        sys.exit(f"{name} must be 1 or 0, or not set, got {value!r}")
    return None if value is None else value == "1"


REQUIRED = switch("PYBN_REQUIRE_EXT")
LIMITED_API = bool(switch("PYBN_LIMITED_API"))  # one build for this Python and every later one
OPENMP = switch("PYBN_OPENMP")  # no: without; yes: with it, untried; not set: where a program with it runs
CHECK = os.environ.get("PYBN_CHECK", "")  # "bounds", "sanitize", or "scalar": as without gcc and clang

# No -ffast-math: NaN must survive.  -O3 because gcc's -O2 leaves the loops 3 to 5 times slower.
# No contraction to fused multiply-add: it would make the bits depend on the level, so a compiler must know the flag.
NEEDED_FLAGS = ["-O3", "-ffp-contract=off"]
FLAGS = [
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    # What Cython writes: temporaries that nothing reads, and a fused function for two types that never meet.
    "-Wno-unused-function",
    "-Wno-unused-but-set-variable",
    "-fno-tree-loop-distribute-patterns",  # gcc: a memset of one tile costs 8 % of its sums
    "-g0",  # Python's own flags ask for debugging symbols: 12.6 s of gcc instead of 8.6, and a file of twice the size
]
MSVC_FLAGS = ["/O2", "/fp:precise"]  # prepared, never run
# Of the processor that is compiled for: a cross-compiling environment answers for it here.
ON_X86 = sysconfig.get_platform().endswith(("x86_64", "amd64"))
LOWEST = "sse2" if ON_X86 else "baseline"
MODULES = {LOWEST: "_baseline"}
LEVEL_FLAGS = {"_baseline": []}
if ON_X86 and os.name == "posix":  # vectors are those of gcc and clang
    MODULES |= {"avx2": "_avx2", "avx512": "_avx512"}
    LEVEL_FLAGS["_avx2"] = ["-march=x86-64-v3", "-mtune=generic"]
    LEVEL_FLAGS["_avx512"] = ["-march=x86-64-v4", "-mtune=generic", "-mprefer-vector-width=512"]

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
# Returns 0, 1 or 2: how many of the levels above the lowest this processor runs (pybn_ext._cpu asks the same).
LEVEL_PROGRAM = """
int main(void) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2")) return 0;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") ? 2 : 1;
}
"""

if CHECK not in ("", "bounds", "sanitize", "scalar"):
    sys.exit(f"PYBN_CHECK must be bounds, sanitize or scalar, got {CHECK!r}")


def wanted_levels():
    """What PYBN_LEVELS asks for; None: the one that this machine runs."""
    value = os.environ.get("PYBN_LEVELS", "native")
    if value == "native":
        return None
    levels = list(MODULES) if value == "all" else value.split()
    if not levels or not set(levels) <= set(MODULES):
        sys.exit(f"PYBN_LEVELS must be all, native, or name some of {' '.join(MODULES)}, got {value!r}")
    return levels


LEVELS = wanted_levels()


class Build(build_ext):
    """build_ext with the level of this machine, flags by compiler, and OpenMP where a program with it runs."""

    def finalize_options(self):
        """Compile the modules side by side."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self):
        """Build, and keep what the compiler said of a module that it could not build."""
        self.failures = {}
        package = Path(self.get_finalized_command("build_py").get_package_dir("pybn_ext"))
        folder = package if self.inplace else Path(self.build_lib, "pybn_ext")
        try:
            super().run()
        finally:
            kept = folder / FAILURES
            kept.unlink(missing_ok=True)
            if self.failures:
                folder.mkdir(parents=True, exist_ok=True)
                lines = [f"{module}: {error}" for module, error in sorted(self.failures.items())]
                kept.write_text("\n".join(lines) + "\n", encoding="utf-8")
                self.tell(
                    "these modules of the compiled implementation could NOT be built:",
                    *(f"  {line}" for line in lines),
                    "pybn works without them, on the reference, and says so; python -m pybn info shows these lines",
                )

    def build_extensions(self):
        """Choose the levels, generate C outside the source tree, add the flags, and compile."""
        compiler = " ".join(getattr(self.compiler, "compiler", [self.compiler.compiler_type])[:1])
        levels = LEVELS or [self.native_level()]
        names = ["_cpu", *(MODULES[level] for level in levels)]
        self.extensions[:] = [each for each in self.extensions if module_of(each) in names]
        self.tell(f"compiling the level(s) {', '.join(levels)} with {compiler}: a quarter of a minute for each")
        generate(self.extensions)
        self.add_flags()
        # setuptools hands every command to the compiler's `call`, `spawn` in earlier ones; its messages pass by there.
        if self.compiler.compiler_type == "unix":
            self.compiler.call = self.compiler.spawn = run_compiler
        super().build_extensions()

    def build_extension(self, extension):
        """One module; its failure is remembered, and ends the installation where it was said that it must not fail."""
        try:
            super().build_extension(extension)
        except Exception as error:
            self.failures[module_of(extension)] = str(error).strip() or type(error).__name__
            raise

    def native_level(self):
        """The highest level that this machine runs; where that cannot be asked, the lowest."""
        if len(MODULES) == 1:
            return LOWEST
        higher = self.status_of(LEVEL_PROGRAM, [])
        return list(MODULES)[higher if higher in (1, 2) else 0]

    def add_flags(self):
        """The flags of each module: those that this compiler knows."""
        msvc = self.compiler.compiler_type == "msvc"
        openmp = ["/openmp"] if msvc else ["-fopenmp"]
        has_openmp = self.status_of(OPENMP_PROGRAM, openmp) == 0 if OPENMP is None else OPENMP
        if not has_openmp:
            self.tell("no OpenMP: everything will be computed on one thread")
        known = MSVC_FLAGS if msvc else NEEDED_FLAGS + self.known(FLAGS)
        for extension in self.extensions:
            flags = known + LEVEL_FLAGS.get(module_of(extension), [])
            if CHECK == "sanitize":
                sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1"]
                flags = flags + sanitizers
                extension.extra_link_args += sanitizers[:1]
            if CHECK in ("bounds", "scalar"):
                extension.define_macros.append((f"PYBN_CHECK_{CHECK.upper()}", "1"))
            if has_openmp and module_of(extension) != "_cpu":
                flags = flags + openmp
                extension.extra_link_args += [] if msvc else openmp
            extension.extra_compile_args += flags
            extension.define_macros.append(("PYBN_FLAGS", '"' + " ".join(flags) + '"'))

    def known(self, flags):
        """Those of `flags` that the compiler takes without a word: asked together, and one by one where it objects."""
        program = "int main(void) { return 0; }"
        if self.compiles(program, ["-Werror", *flags]):
            return flags
        return [flag for flag in flags if self.compiles(program, ["-Werror", flag])]

    def compiles(self, program, flags):
        """Whether it does, without a word where -Werror is among the flags; it is not run, nor linked."""
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "probe.c")
            source.write_text(program, encoding="utf-8")
            try:
                self.compiler.compile([str(source)], output_dir=directory, extra_postargs=flags)
            except Exception:  # whatever a compiler can do wrong
                return False
            return True

    def status_of(self, program, flags):
        """What `program`, compiled with `flags`, returns; None where it does not compile, link or run."""
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "probe.c")
            source.write_text(program, encoding="utf-8")
            try:
                objects = self.compiler.compile([str(source)], output_dir=directory, extra_postargs=flags)
                self.compiler.link_executable(objects, "probe", output_dir=directory, extra_postargs=flags)
                return subprocess.run([str(Path(directory, "probe"))], check=False).returncode
            except Exception:  # whatever a compiler can do wrong, and a program for another processor
                return None

    def tell(self, *lines):
        """On the standard error stream, which installers show (pip with -v)."""
        print(*(f"pybn: {line}" for line in lines), sep="\n", file=sys.stderr, flush=True)


def run_compiler(command, **_):
    """Run one command of the compiler; the error that is raised is the first line with which it complained."""
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    sys.stderr.write(done.stderr)
    if done.returncode:
        found = ERROR_LINE.search(done.stderr)
        raise CompileError(found.group().strip() if found else f"{command[0]} ended with status {done.returncode}")


def module_of(extension):
    """Its name without the package: _cpu, _avx2, ..."""
    return extension.name.rpartition(".")[2]


def generate(extensions):
    """C from the sources of each; an unchanged one is taken from the last time."""
    made = cythonize(
        extensions,
        build_dir="build/cython",
        nthreads=0 if len(extensions) <= 2 else os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            "binding": True,
            "boundscheck": CHECK == "bounds",
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "auto_pickle": False,
            "emit_code_comments": False,  # the source beside each line of C: more than half of the file
        },
    )
    for extension, new in zip(extensions, made, strict=True):
        extension.sources = new.sources


def extensions():
    """One module for each level that there is here; `Build` takes those that are wanted."""
    included = sorted(str(path) for path in Path("pybn_ext").glob("*.pxi"))
    macros = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")]
    if LIMITED_API:
        macros.append(("Py_LIMITED_API", "0x030B0000"))
    return [
        Extension(
            f"pybn_ext.{name}",
            [f"pybn_ext/{name}.pyx"],
            depends=included,
            include_dirs=[numpy.get_include()],
            define_macros=list(macros),  # its own: each gets flags of its own
            py_limited_api=LIMITED_API,
            optional=not REQUIRED,
        )
        for name in ["_cpu", *MODULES.values()]
    ]


def description():
    """README.md; what it names by a path in the clone is named by an address, for the package index."""
    home = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Homepage"]
    return re.sub(r"\]\((?!https?:|#)", f"]({home}/raw/main/", Path("README.md").read_text(encoding="utf-8"))


setup(
    long_description=description(),
    long_description_content_type="text/markdown",
    ext_modules=extensions(),
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED_API else {},
)
