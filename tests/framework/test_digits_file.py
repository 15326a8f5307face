"""The images that ship with the package are those of the source that its README names."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest

DATA = files("pybn") / "framework" / "data"
PER_DIGIT = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.fixture(scope="module")
def digits():
    with (DATA / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_shapes_ranges_and_counts(digits):
    assert sorted(digits) == ["images", "labels"]
    images, labels = digits["images"], digits["labels"]
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 16)
    assert labels.shape == (1797,)
    assert np.bincount(labels).tolist() == PER_DIGIT


def test_the_readme_names_the_checksums_the_licence_and_the_source(digits):
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    content = digits["images"].tobytes() + digits["labels"].tobytes()
    assert hashlib.sha256(content).hexdigest() in readme
    assert hashlib.sha256((DATA / "digits.npz").read_bytes()).hexdigest() in readme
    for word in ("CC BY 4.0", "Alpaydin", "https://doi.org/10.24432/C50P49"):
        assert word in readme


def test_the_file_stays_small():
    # It travels in every wheel; 45 KiB is what the compressed archive takes.
    assert len((DATA / "digits.npz").read_bytes()) < 46 * 1024


def test_same_images_as_scikit_learn(digits):
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn, the second source, is not installed")
    other = datasets.load_digits()
    np.testing.assert_array_equal(digits["images"], other.images)
    np.testing.assert_array_equal(digits["labels"], other.target)
