"""What may be wrong around the arithmetic: failures, images, habits."""

from __future__ import annotations

from collections.abc import Mapping

from pybn.study.coursework.words import Text

AROUND: Mapping[str, Text] = {
    "unfinished": Text(
        "failure",
        "interface",
        "{function} is not written yet: {message}",
        "it is to return its results",
    ),
    "raised": Text(
        "failure",
        "interface",
        "{function} raises {message}",
        "it must run on any float batch (n, d)",
    ),
    "hung": Text(
        "failure",
        "interface",
        "{function} {message}: it was stopped",
        "it must end; a batch of 7 x 8 takes well under a millisecond",
    ),
    "returned-none": Text(
        "failure",
        "interface",
        "{function} returned None",
        "it must return its results",
    ),
    "type": Text(
        "failure",
        "interface",
        "{function} {message}",
        "the results are NumPy arrays in the order of the interface",
    ),
    "shape": Text(
        "failure",
        "interface",
        "{function}: {message}",
        "out and dx have the shape of x",
    ),
    "not-judged": Text(
        "failure",
        "interface",
        "could not be judged",
        "mend what it depends on first",
    ),
    "channels-mixed": Text(
        "mistake",
        "images",
        "the array is reshaped without moving the channel axis to the end first: channels are mixed",
        "bring the channels last before the other axes are flattened, and back afterwards",
    ),
    "position-statistics": Text(
        "mistake",
        "images",
        "statistics are taken over the batch only: one for each channel and position",
        "a channel has one mean and variance over batch, height and width",
    ),
    "instance-statistics": Text(
        "mistake",
        "images",
        "each image is normalized by itself (instance normalization)",
        "a channel has one mean and variance over batch, height and width",
    ),
    "channel-axis": Text(
        "mistake",
        "images",
        "it is normalized over the channels",
        "a channel has one mean and variance over batch, height and width",
    ),
    "wrong-axes": Text(
        "mistake",
        "images",
        "statistics are kept apart along axes {axes}",
        "a channel (axis 1) has one mean and variance over batch, height and width",
    ),
    "put-back-wrong": Text(
        "mistake",
        "images",
        "the result is put back with another order of axes than x has",
        "undo the transpose that was made before",
    ),
    "images-dx-put-back": Text(
        "mistake",
        "images",
        "dx has the right numbers in the wrong places: it is put back with another order of axes",
        "undo the transpose that was made before",
    ),
    "count-without-positions": Text(
        "mistake",
        "images",
        "dx divides by the number of images and not by images times positions",
        "n counts every element that enters a channel's mean: batch * height * width",
    ),
    "images-output": Text(
        "mistake",
        "images",
        "the 4-D output differs, and by no slip that this check knows",
        "a channel has one mean and variance over batch, height and width",
    ),
    "images-test": Text(
        "mistake",
        "images",
        "the 4-D output in test mode differs",
        "each channel is normalized with its own averages",
    ),
    "images-statistics": Text(
        "mistake",
        "images",
        "the 4-D version stores other averages: {name}",
        "a channel has one average of mean and variance, over batch, height and width",
    ),
    "images-dx": Text(
        "mistake",
        "images",
        "dx of the 4-D version differs, and by no slip that this check knows",
        "the 2-D gradient on the rearranged array, put back",
    ),
    "images-dout-gathered": Text(
        "mistake",
        "images",
        "dout is flattened with another order of axes than x was",
        "bring the channels of dout last before the other axes are flattened, as the forward does with x",
    ),
    "images-dx-open": Text(
        "remark",
        "images",
        "the 4-D backward is neither the book's nor right for the 4-D forward; it can be judged when that is right",
        "mend the forward, then this",
    ),
    "images-parameter": Text(
        "mistake",
        "images",
        "{name} of the 4-D version differs",
        "the sums go over batch, height and width",
    ),
    "images-right-for-own": Text(
        "remark",
        "images",
        "the 4-D backward is right for the 4-D forward, which is not the book's",
        "mend the forward, then this",
    ),
    "input-changed": Text(
        "mistake",
        "interface",
        "{name} is changed in place: the caller's array is not the same afterwards",
        "functions leave their arguments as they are",
    ),
    "setting-changed": Text(
        "mistake",
        "interface",
        "bn_param[{name!r}] is changed: the next call has another setting than the caller chose",
        "the settings are the caller's",
    ),
    "state-kept": Text(
        "mistake",
        "interface",
        "a second call with the same arguments gives another result: something is kept between calls, or shared",
        "what a layer keeps is in its own bn_param alone",
    ),
    "wrong-type": Text(
        "mistake",
        "interface",
        "{detail}",
        "out is a NumPy array, and forward returns out, cache",
    ),
    "batch-of-one": Text(
        "mistake",
        "normalize",
        "a batch of one row goes wrong: {detail}",
        "with one row the variance is 0, and y is beta",
    ),
    "constant-feature": Text(
        "mistake",
        "normalize",
        "a feature that is constant goes wrong: {detail}",
        "its variance is 0, and y is beta",
    ),
    "refuses-batch-of-one": Text(
        "remark",
        "normalize",
        "a batch of one row is refused: {detail}",
        "defined is y = beta; a refusal is a choice that PyTorch makes too",
    ),
    "prints": Text(
        "remark",
        "interface",
        "it prints while it runs: {detail!r}",
        "a function that is called a thousand times is quiet",
    ),
    "extra-keys": Text(
        "remark",
        "interface",
        "bn_param also holds {detail} afterwards",
        "only the averages belong there",
    ),
    "dtype-changed": Text(
        "remark",
        "interface",
        "the dtype changes: {detail}",
        "results have the dtype of x; an array made without dtype= is float64",
    ),
    "single-precision": Text(
        "remark",
        "interface",
        "it computes in single precision: {detail}",
        "float64 in, float64 inside",
    ),
    "integers": Text(
        "remark",
        "interface",
        "an integer x goes wrong: {detail}",
        "a copy of an integer array cannot hold fractions",
    ),
    "dx-at-large-scale": Text(
        "remark",
        "dx",
        "dx loses digits where x is large: {detail}",
        "a term that is exactly zero on paper has a wrong factor; look at dl/dmean again",
    ),
}
