r"""
.. _lesson-padding:

Padding is not data
===================

*What do zeros behind short sequences do to the statistics?*  About 15 minutes.  :ref:`lesson-one-feature` comes
before.

Sequences of different length share a batch when the short ones are filled up with zeros.  A batch normalization that
is not told takes the zeros for data.  With a fraction :math:`p` of padding, it finds

.. math:: \mu_{\text{found}} = (1 - p)\,\mu, \qquad \sigma^2_{\text{found}} = (1 - p)\,(\sigma^2 + p\,\mu^2),

and what it makes of one sequence depends on how long its longest neighbour is.  A mask says which elements are real.
"""

import numpy as np

import pybn
from pybn import Loop, layers, ops, reference
from pybn.lessons import experiments, lesson
from pybn.lessons.sequences import PaddedBatches, numbers, padded

drawings = lesson.drawings()
SEEDS = lesson.seeds()
LONGEST = 8

# %%
# What the layer is told about the data
# -------------------------------------
# Our sequences are numbers: one to eight handwritten digits, each a step of 64 pixels.  Here are the mean and the
# variance of one pixel in 64 numbers, as these get more and more padding behind them.

images, labels = pybn.datasets.digits()
PIXEL = 3
lengths = (8, 10, 12, 16, 20, 28, 40)


def expected(p, mean, variance):
    """What is found with a fraction p of padding, by the formula."""
    return (1 - p) * mean, (1 - p) * (variance + p * mean**2)


def found(seed):
    """For each length: the fraction of padding, and the pixel's mean and variance
    without and with the mask.
    """
    sequences, _ = numbers(
        images.astype(np.float64), labels, count=64, longest=LONGEST, rng=seed
    )
    rows = []
    for x, mask in (padded(sequences, length).values() for length in lengths):
        _, mean, variance = reference.moments(x[:, :, [PIXEL]])
        _, real_mean, real_variance = reference.moments(x[:, :, [PIXEL]], mask=mask)
        rows.append(
            (1 - mask.mean(), mean[0], variance[0], real_mean[0], real_variance[0])
        )
    return np.transpose(rows)


# %%

# Folded: the check of the formula, and that with the mask nothing changes
for seed in SEEDS:
    p, *of_all, real_mean, real_variance = found(seed)
    assert np.allclose(of_all, expected(p, real_mean, real_variance), rtol=1e-12)
    assert max(np.ptp(real_mean), np.ptp(real_variance)) < 1e-14
    print(
        f"seed {seed}: with {p[0]:.0%} padding the mean is {of_all[0][0]:.3f} for "
        f"{real_mean[0]:.3f},\n"
        f"  the variance {of_all[1][0]:.3f} for {real_variance[0]:.3f}; with the mask "
        f"neither moves"
    )

# %%

p, mean, variance, real_mean, real_variance = found(SEEDS[0])
fractions = np.linspace(0, 0.9)
by_formula = expected(fractions, real_mean[0], real_variance[0])

drawings.padding_against_the_formula(
    p,
    {"mean": (mean, real_mean), "variance": (variance, real_variance)},
    {"mean": (fractions, by_formula[0]), "variance": (fractions, by_formula[1])},
)

# %%
# The mean shrinks, and the variance *grows*: a heap of ink and a heap of zeros lie further apart than the data do among
# themselves.
#
# What becomes of a prediction
# ----------------------------
# A network reads such numbers and names their largest digit.  Each step goes through two blocks of dense layer, batch
# normalization and relu; the results are added up over the steps, divided by the length, and classified.
# We train it without a mask, with a mask in the normalization, and with one in the sum alone.


def model(mask_in_layer, mask_in_sum):
    """The network, with the mask in one place, the other, or none."""

    def forward(ctx, batch):
        x, mask = batch["x"], batch["mask"]
        for index in range(2):
            here = ctx.in_scope(f"layer_{index}")
            steps = ops.reshape(x, (-1, x.shape[-1]))
            x = layers.dense(here, steps, 64, use_bias=False)
            x = ops.reshape(x, (*mask.shape, 64))
            told = mask if mask_in_layer else None
            x = layers.relu(pybn.batch_norm(here, x, momentum=0.9, mask=told))
        if mask_in_sum:
            x = ops.where(mask[..., None], x, 0.0)
        pooled = ops.sum(x, axis=1) / mask.sum(axis=1, keepdims=True).astype(np.float32)
        return layers.dense(ctx.in_scope("output"), pooled, 10)

    return forward


# %%

# None: each number in a batch of its own, without padding.
PADDED_TO = (None, 8, 12, 16, 24)


def accuracies(seed, mask_in_layer, mask_in_sum):
    """On the same test numbers, padded more and more: accuracy, and how far the first
    number's logits move.
    """
    train, test = pybn.datasets.train_test_split(images, labels, 0.25, seed)
    trainer = experiments.trainer(seed, model(mask_in_layer, mask_in_sum))
    Loop(trainer).run_epochs(
        PaddedBatches(*numbers(*train, 1984, LONGEST, seed), 64, rng=seed), 8
    )
    written = numbers(*test, 400, LONGEST, seed)
    accuracy = [
        trainer.eval(PaddedBatches(*written, 1 if to is None else 50, to))["accuracy"]
        for to in PADDED_TO
    ]
    first = [trainer.predict(padded(written[0][:1], to)) for to in PADDED_TO]
    return accuracy, np.ptp(first, axis=0).max()


ways = {
    "no mask": (False, False),
    "mask in the layer": (True, False),
    "mask in the sum alone": (False, True),
}
results = {
    name: [accuracies(seed, *masks) for seed in SEEDS] for name, masks in ways.items()
}
curves = {
    name: [accuracy for accuracy, _ in of_seeds] for name, of_seeds in results.items()
}

drawings.accuracy_by_length(["own", *PADDED_TO[1:]], curves)

# %%

# Folded: the check that without a mask, and only then, neighbours change the answer
for row, seed in enumerate(SEEDS):
    (none, moved), (in_layer, still), (in_sum, still_too) = (
        of_seeds[row] for of_seeds in results.values()
    )
    assert len(set(in_layer)) == len(set(in_sum)) == 1
    assert max(still, still_too) < 1e-5 < 0.5 < moved
    assert none[1] - none[-1] > 0.15
    print(
        f"seed {seed}, no mask: accuracy {none[1]:.3f} padded as in training, "
        f"{none[0]:.3f} alone, "
        f"{none[-1]:.3f} padded to 24;\n"
        f"  with the mask {in_layer[0]:.3f} in each case, with it in the sum "
        f"{in_sum[0]:.3f}"
    )
own, as_in_training = np.mean(curves["no mask"], axis=0)[:2]
assert as_in_training - own > 0.02

# %%
# Without a mask, the layer turns the zeros into :math:`\beta - \gamma M / \sqrt{V + \varepsilon}`, which is not zero,
# and the sum takes them in: the answer depends on how long the neighbours are.  As long as that is as it was in
# training, nothing seems wrong.  With the mask in the layer padding stays the zero that it was, and the sum needs none.
#
# The third curve is the honest one.  Where every later step ignores the padding, *inference* is safe without a mask in
# the layer: there M and V are constants, and the network has learned to live with wrong ones.  What remains is
# training, where a number's output still depends on the length of its neighbours.

lesson.show()

# %%
# Exercises
# ---------

lesson.exercises("padding")
