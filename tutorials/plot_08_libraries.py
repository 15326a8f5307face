r"""
.. _lesson-libraries:

One word, four libraries
========================

*Which way does momentum count, and what else differs?*  About 10 minutes.  :ref:`lesson-momentum` comes before.

Every library normalizes a training batch in the same way.  What they keep of it for evaluation differs, and the word
*momentum* hides it: in Keras, Flax, ONNX and pybn it is the fraction of the **old** average that is kept, in PyTorch
the fraction of the **new** batch that is taken in.  They also start differently, and do not average the same variance.

Here one stream of real batches goes through the rules of five, each as it comes out of the box.
"""

import numpy as np

from pybn import reference
from pybn.lessons import experiments, lesson
from pybn.study.interop import LIBRARIES, rules

drawings = lesson.drawings()
SEEDS = lesson.seeds()

# %%
# The table
# ---------

NAMES = ("pybn", "gomlx", "pytorch", "keras", "flax", "onnx")
COLUMNS = (
    "momentum",
    "momentum_keeps",
    "epsilon",
    "averaged_variance",
    "mean",
    "variance",
)
rows = {
    LIBRARIES[name].title: [getattr(LIBRARIES[name], each) for each in COLUMNS]
    for name in NAMES
}
lesson.table(rows, COLUMNS)

# %%
# One stream
# ----------
# A pixel of the digits in batches of eight images.  Its mean over all the images is 0.74, its variance 0.07; where
# batches are not counted, the averages begin at 0 and 1.

SIZE, PIXEL = 8, (0, 3)


def averages(seed, **momentum):
    """Averaged mean and variance after each batch of an epoch, for each library: {name:
    (2, batches)}.
    """
    data = experiments.digits(seed, batch_size=SIZE)
    started = {name: rules[name](**momentum) for name in NAMES}
    history = {name: [] for name in NAMES}
    for images, _ in data.train:
        _, mean, variance = reference.moments(
            images[:, *PIXEL][:, None].astype(np.float64)
        )
        for name, average in started.items():
            average.update(mean[0], variance[0], SIZE)
            history[name].append((average.mean, average.variance))
    return {name: np.transpose(values) for name, values in history.items()}


def truth(seed):
    """Mean and variance of the pixel over the whole training data."""
    values = experiments.digits(seed).whole.inputs[:, *PIXEL].astype(np.float64)
    return values.mean(), values.var()


stream = averages(SEEDS[0])
drawings.one_stream_by_five_rules(stream, truth(SEEDS[0]), SIZE)

# %%
# Six names, and three curves for the mean.  ONNX's 0.9 and PyTorch's 0.1 are the same number in two senses; their
# variances differ, by :math:`n/(n-1)` and nothing else, since PyTorch averages the *sample* variance.  Keras and Flax
# still hold a part :math:`0.99^t` of the start after :math:`t` batches.  pybn and GoMLX count the batches, so nothing
# of the start remains after the first.

# Folded: the check of each of these sentences, and of how far the start is felt
for seed in SEEDS:
    after, (mean, variance) = averages(seed), truth(seed)
    assert np.array_equal(after["keras"], after["flax"])
    assert np.array_equal(after["pybn"], after["gomlx"])
    assert np.allclose(after["pytorch"][0], after["onnx"][0], rtol=1e-12)
    of_start = 0.9 ** np.arange(1, after["onnx"].shape[1] + 1)
    sampled, of_batch = after["pytorch"][1] - of_start, after["onnx"][1] - of_start
    assert np.allclose(sampled, of_batch * SIZE / (SIZE - 1), rtol=1e-9)
    keras, own = after["keras"][:, 99], after["pybn"][:, 99]
    assert abs(own[0] - mean) < 0.05 < 0.2 < mean - keras[0]
    print(
        f"seed {seed}, after 100 batches: in Keras and Flax mean {keras[0]:.3f} and "
        f"variance {keras[1]:.3f},\n"
        f"  in pybn {own[0]:.3f} and {own[1]:.3f}, in the data {mean:.3f} and "
        f"{variance:.3f}"
    )
print(
    f"after 100 batches {0.99**100:.0%} of Keras's averages is still their start, 0 "
    f"and 1"
)

# %%
# pybn's variance stays a little below that of the data: a batch of eight has 7/8 of it on average, which is what the
# sample variance makes up for.  Small batches have a lesson of their own.
#
# The same number in another library
# ----------------------------------
# Somebody copies ``momentum=0.9`` from Keras to PyTorch.  There it takes nine tenths from every new batch: a
# memory of 1.1 batches in place of 10.  (How far off it is, below, is the root mean square from batch 50 on.)

same = averages(SEEDS[0], momentum=0.9)
drawings.same_momentum_in_two_libraries(
    same["pytorch"][0], same["keras"][0], truth(SEEDS[0])[0], SIZE
)

# %%

# Folded: the check that it is more than twice as far off
for seed in SEEDS:
    same, (mean, _) = averages(seed, momentum=0.9), truth(seed)
    error = {
        name: np.sqrt(np.mean((same[name][0, 50:] - mean) ** 2))
        for name in ("keras", "pytorch")
    }
    assert error["pytorch"] > 2 * error["keras"]
    print(
        f"seed {seed}: with 0.9 in both, the average is off by {error['keras']:.3f} in "
        f"Keras, "
        f"by {error['pytorch']:.3f} in PyTorch"
    )

# %%
# ``pybn.study.interop.options("pytorch", state)`` does the arithmetic, and `from_pytorch`, `from_keras`, … bring the
# averages along.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("libraries")
