"""Put Pyodide beside the site, for "Check my code" without a network.

    python docs/pyodide.py DIR [--from SOURCE ...]

copies what the page needs into DIR: Pyodide's core and NumPy's wheel, 17 MB. SOURCE is a folder or an archive (.tgz,
.zip, .whl) that holds some of the files, whatever it calls its folders; without one they are fetched from Pyodide's own
address. Every file is checked: the wheel against the hash in pyodide-lock.json, the core against those below. Then set
`pyodide_base = "pyodide/"` in docs/conf.py and copy DIR into the built site as `pyodide`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

VERSION = "0.27.7"
ADDRESS = f"https://cdn.jsdelivr.net/pyodide/v{VERSION}/full/"
LOCK = "pyodide-lock.json"
CORE = {
    "pyodide.js": "b4cb23a53aba19c221659b9fb40a2f18281d685691dc06647fb0afd0681baf98",
    "pyodide.asm.js": "6b4c90de5b7172873f04f21884d0e9d2274e305fe32116558fe3e4fbe3618d51",
    "pyodide.asm.wasm": "a50dd1843f805a0b7c45b61037ee0d7b26dfe85efe0e18ef95a34ad24e401f5f",
    "python_stdlib.zip": "16611534726e5d8ac2bd8f926410b2dcb8d6f49aa24913463533b457a2115c16",
}

# A function from a file's name to its bytes, or None where the source has no such file.
Source = Callable[[str], bytes | None]


def copy(target: Path, sources: list[Source]) -> list[str]:
    """Copy the files into `target`, which is made; their names. SystemExit for one that is missing or another's."""
    lock = find(LOCK, sources, is_lock)
    numpy = json.loads(lock)["packages"]["numpy"]
    wanted = {**CORE, numpy["file_name"]: numpy["sha256"]}
    found = {name: find(name, sources, has_hash(digest)) for name, digest in wanted.items()}
    target.mkdir(parents=True, exist_ok=True)
    for name, content in {LOCK: lock, **found}.items():
        (target / name).write_bytes(content)
    return [LOCK, *found]


def find(name: str, sources: list[Source], right: Callable[[bytes], bool]) -> bytes:
    """The first of the sources' files of that name that is right."""
    seen = [content for content in (source(name) for source in sources) if content is not None]
    for content in seen:
        if right(content):
            return content
    if seen:
        raise SystemExit(f"{name} is not that of Pyodide {VERSION}: its hash is {hashlib.sha256(seen[0]).hexdigest()}")
    raise SystemExit(f"{name} is in none of the sources; name one that has it with --from")


def is_lock(content: bytes) -> bool:
    """Whether this is the lock file of the version that this script knows, with NumPy in it."""
    lock = json.loads(content)
    return lock["info"]["version"] == VERSION and "numpy" in lock["packages"]


def has_hash(digest: str) -> Callable[[bytes], bool]:
    """Whether content has this SHA-256."""
    return lambda content: hashlib.sha256(content).hexdigest() == digest


def source(place: str) -> Source:
    """What a folder or an archive holds."""
    path = Path(place)
    if path.is_dir():
        return lambda name: next((each.read_bytes() for each in sorted(path.rglob(name))), None)
    if tarfile.is_tarfile(path):
        return lambda name: from_tar(path, name)
    if zipfile.is_zipfile(path):
        return lambda name: from_zip(path, name)
    raise SystemExit(f"--from must be a folder, a .tgz, a .zip or a .whl, got {place}")


def from_tar(path: Path, name: str) -> bytes | None:
    """A file of that name, in whichever folder of the archive."""
    with tarfile.open(path) as archive:
        for member in archive:
            if PurePosixPath(member.name).name == name and (opened := archive.extractfile(member)):
                return opened.read()
    return None


def from_zip(path: Path, name: str) -> bytes | None:
    """A file of that name, in whichever folder of the archive."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if PurePosixPath(member).name == name:
                return archive.read(member)
    return None


def fetched(name: str) -> bytes:
    """From Pyodide's own address."""
    with urllib.request.urlopen(ADDRESS + name) as response:
        return response.read()


def main(arguments: list[str]) -> None:
    """Read the command line, copy, and say what was copied."""
    parser = argparse.ArgumentParser(prog="python docs/pyodide.py", description="Put Pyodide beside the site.")
    parser.add_argument("target", metavar="DIR", type=Path)
    parser.add_argument("--from", dest="sources", metavar="SOURCE", nargs="+", default=[], help="default: fetch them")
    options = parser.parse_args(arguments)
    sources = [source(place) for place in options.sources] or [fetched]
    for name in copy(options.target, sources):
        print(f"{options.target / name}: {(options.target / name).stat().st_size:,} bytes, checked")


if __name__ == "__main__":
    main(sys.argv[1:])
