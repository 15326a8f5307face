"""A file says the same in a process of its own as beside the check; the search of its text is done over there."""

import importlib.util
import json
import linecache
import os

import pytest

from pybn.study.coursework import check_batch_norm, check_file
from pybn.study.coursework.apart import host, wire
from pybn.study.coursework.edits import search
from pybn.study.coursework.edits.code import MOST_EDITS
from tests.study.coursework.test_by_edits import CLASS, OF_A_CLASS, SEEN_ELSEWHERE, SLIPS, TEXT
from tests.support.students import hostile, manners

# By a name: the text of a file, and what is checked in it where it has not the course's names.
FILES = {"honest": (hostile.HONEST, None), "wrong backward": (hostile.WRONG_BACKWARD, None)}
FILES |= {name: (text, None) for name, text in hostile.HARMLESS.items()}
FILES |= {
    f"{number} {new.strip()[:40]}": (TEXT.replace(old, new, 1), None)
    for number, (old, new, *_) in enumerate([*SLIPS, *SEEN_ELSEWHERE])
}
FILES |= {new: (CLASS.replace(old, new, 1), {"forward": "Normalizer"}) for old, new, *_ in OF_A_CLASS}
FILES |= {
    f"manner {number}": manners.as_file(*changed)
    for number, changed in enumerate([(name, []) for name in manners.RIGHT] + [each[:2] for each in manners.SLIPS[::6]])
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A function that writes a student's file into a directory of its own, and gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="layers.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        linecache.checkcache(str(tmp_path / name))
        return name

    return write


def imported(name):
    spec = importlib.util.spec_from_file_location("layers", os.path.abspath(name))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SystemExit:
        assert module.batchnorm_forward
    return module


def plain(report):
    """All of a report but the time it took, what is said of the file itself, and whether a clock ended the search."""
    remarks = [each.to_dict() for each in report.remarks if each.code != "search-ended-early"]
    return {**report.to_dict(), "remarks": remarks, "seconds": 0, "said": []}


@pytest.mark.sampled(12)
@pytest.mark.parametrize("name", FILES)
def test_both_ways_say_the_same(name, file):
    text, functions = FILES[name]
    apart = check_file(file(text), functions)
    module = imported("layers.py")
    if functions is None:
        here = check_batch_norm(module)
    else:
        here = check_batch_norm(**{role: getattr(module, own) for role, own in functions.items()})
    assert plain(apart) == plain(here)


# --- a process that lies ------------------------------------------------------------------------------------

WRONG = hostile.HONEST.replace("return gamma * h + beta, (h", "return gamma / h + beta, (h")
LYING = (
    WRONG
    + """
import gc
for each in gc.get_objects():
    if type(each).__name__ == "Guest":
        type(each).search = lambda guest, request: {lie}
"""
)
LIES = {
    "an edit that mends nothing": {"places": {"training": ["layers.py", 11, 0]}, "early": False},
    "a line that is no function's": {"places": {"training": ["layers.py", 3, 0]}},
    "a number without end": {"places": {"training": ["layers.py", 2, 10**30]}},
    "a number below": {"places": {"training": ["layers.py", 2, -1]}},
    "a text for a number": {"places": {"training": ["layers.py", 2, "INJECTED"]}},
    "a truth for a number": {"places": {"training": ["layers.py", 2, True]}},
    "a file elsewhere": {"places": {"training": [host.__file__, 45, 0]}},
    "a file above": {"places": {"training": ["../layers.py", 2, 0]}},
    "no file": {"places": {"training": ["nothing.py", 2, 0]}},
    "a part that is right": {"places": {"statistics": ["layers.py", 2, 0], "points": [1, 2, 3]}},
    "no places": {"places": "INJECTED", "early": "INJECTED"},
    "nothing": {},
    "no dictionary": ["INJECTED"],
    "a failure": {"failure": "raised", "message": "INJECTED"},
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", LIES)
def test_a_lie_gives_no_points_and_puts_in_no_words(name, file):
    honest = check_file(file(WRONG))
    report = check_file(file(LYING.replace("{lie}", repr(LIES[name]))))
    assert [(each.status, each.points) for each in report.parts.values()] == [
        (each.status, each.points) for each in honest.parts.values()
    ]
    first = report.findings[0]
    if name == "an edit that mends nothing":  # one of its own text, in our words
        assert first.what.startswith("line 13, ")
    else:
        assert first.code == "unexplained-output", report.text
    assert "INJECTED" not in json.dumps(report.to_dict())
    assert report.text.splitlines()[:4] == honest.text.splitlines()[:4]


@pytest.mark.parametrize("lie", ["while True: pass", "import os; os._exit(0)", "raise SystemExit"])
def test_a_search_that_does_not_come_back_ends(lie, file, monkeypatch):
    monkeypatch.setattr("pybn.study.coursework.edits.judge.BEYOND", 0.3)
    monkeypatch.setattr(host, "LATE", 0.3)
    text = LYING.replace("lambda guest, request: {lie}", "lie")
    report = check_file(file(text.replace("import gc", f"import gc\ndef lie(guest, request):\n    {lie}")))
    assert report.findings[0].code == "unexplained-output"
    assert "search-ended-early" in {each.code for each in report.remarks}
    assert report.parts["test"].ok


def test_only_files_beside_the_module_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    course, outside = tmp_path / "course", tmp_path / "other.py"
    course.mkdir()
    for path in (course / "layers.py", course / "notes.txt", outside):
        path.write_text("x = 1\n")
    (course / "link.py").symlink_to(outside)
    (course / "long.py").write_text("#" * (host.LONGEST + 1))
    (course / "bytes.py").write_bytes(b"\xff\xfe\0x")
    (course / "directory.py").mkdir()
    asked = host.Host("course/layers.py", limit=1, memory=10**9, options={})
    try:
        assert asked.source("course/layers.py") == asked.source(str(course / "layers.py")) == "x = 1\n"
        for name in ("notes.txt", "link.py", "long.py", "bytes.py", "directory.py", "../other.py", "no.py", "\0.py"):
            assert asked.source(f"course/{name}") == "", name
        assert asked.source(str(outside)) == ""
    finally:
        asked.__exit__()


def test_what_is_asked_crosses_as_plain_values():
    question = search.Question(("training",), ("training",), {"training": 3}, (), (), {"sample": False}, (None, 0.9))
    sent = search.as_plain(question)
    assert json.loads(json.dumps(sent)) == sent
    assert wire._encoded(sent, [])


# --- where a search ends ------------------------------------------------------------------------------------

TWICE = TEXT.replace("np.sqrt(var + eps)", "np.sqrt(var - gamma * eps)").replace("gamma * hat", "gamma / hat")


def counted(monkeypatch):
    tried = []
    holds = search.holds
    monkeypatch.setattr(search, "holds", lambda text, edit, judge: tried.append(edit) or holds(text, edit, judge))
    return tried


def test_a_count_ends_the_search_and_not_the_clock(file, monkeypatch):
    monkeypatch.setattr(search, "RUNS", 200)
    tried = counted(monkeypatch)
    report = check_batch_norm(imported(file(TWICE)))
    assert 190 < len({id(edit) for edit in tried}) <= 200
    assert "search-ended-early" not in {each.code for each in report.remarks}
    first = [edit.values for edit in tried]
    tried.clear()
    assert check_batch_norm(imported("layers.py")).findings == report.findings
    assert [edit.values for edit in tried] == first


def test_where_the_clock_ends_it_the_report_says_so(file, monkeypatch):
    monkeypatch.setattr(search, "PATIENCE", 0.0)
    report = check_batch_norm(imported(file(TWICE)))
    assert {each.code for each in report.remarks} == {"search-ended-early", "follows-forward"}
    assert "ended early, by the clock" in " ".join(report.text.split())
    assert not any(each.code.startswith("edit-") for each in report.findings)


def test_no_function_has_more_edits_than_are_counted(file):
    module = imported(file(TEXT + CLASS))
    functions = [module.batchnorm_forward, module.batchnorm_backward, *vars(module.Normalizer).values()]
    for text in search.texts(filter(callable, functions)):
        assert len(list(text.edits())) < MOST_EDITS / 2
