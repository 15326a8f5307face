"""Classes in the manners of many courses: no right one is accused, and each slip is seen in its own part."""

import pytest

from pybn.study.coursework import check_batch_norm
from tests.support.students import layers, wrong_layers

# Judged only in part, and told so: no names for the gradients, which this manner hands to an optimizer.
IN_PART = {"ScratchLibraryLayer": {"backward"}, "TakesItsOwnTensors": {"training", "statistics", "test"}}


def verdicts(report):
    """The parts that are accused, and those that are not judged."""
    statuses = {part: verdict.status for part, verdict in report.parts.items()}
    accused = {part for part, status in statuses.items() if status.startswith(("wrong", "fails", "right apart"))}
    return accused, {part for part, status in statuses.items() if status == "not judged"}


def is_right(layer):
    report = check_batch_norm(layer)
    _, not_judged = verdicts(report)
    assert not report.findings, report.text
    assert not_judged == IN_PART.get(layer.__name__, set()), report.text
    assert report.ok or not_judged, report.text


def is_found(layer, parts, follow):
    report = check_batch_norm(layer)
    accused, _ = verdicts(report)
    assert accused <= parts | follow, report.text
    assert accused >= parts, report.text


@pytest.mark.parametrize("name", layers.RIGHT)
def test_a_right_layer_is_right(name):
    is_right(layers.RIGHT[name])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", wrong_layers.WRONG)
def test_a_slip_is_found_in_its_part(name):
    is_found(*wrong_layers.WRONG[name])


TORCH_RIGHT = ("PlainTensors", "NumDims", "LerpedBatchNorm", "Wrapped", "RowShapedModule", "LazyModule")
TORCH_RIGHT += ("TensorsByHand", "FlaggedModule", "OwnFunction", "BatchNorm2dPermuted")
TORCH_WRONG = ("TensorsOfTheBatch", "LerpedSample", "RowsWithoutEpsilon", "FlaggedBare", "TensorsWithoutMeanPath")
TORCH_WRONG += ("LazyOverwrites",)


@pytest.fixture
def torch_layers():
    pytest.importorskip("torch", reason="PyTorch is not installed; it is optional")
    from tests.support.students import torch_layers, wrong_torch_layers

    return torch_layers.RIGHT, wrong_torch_layers.WRONG


@pytest.mark.parametrize("name", TORCH_RIGHT)
def test_a_right_layer_on_torch_is_right(name, torch_layers):
    is_right(torch_layers[0][name])


@pytest.mark.parametrize("name", TORCH_WRONG)
def test_a_slip_on_torch_is_found_in_its_part(name, torch_layers):
    is_found(*torch_layers[1][name])


def test_the_lists_of_torch_layers_are_whole(torch_layers):
    assert (set(torch_layers[0]), set(torch_layers[1])) == (set(TORCH_RIGHT), set(TORCH_WRONG))
