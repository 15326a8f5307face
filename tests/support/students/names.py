"""What the check may call each of the twenty mistakes of the table."""

CODES = {
    1: {"sample-variance", "sample-variance-in-backward"},
    2: {"sample-variance-averaged", "follows-convention"},
    3: {"momentum-swapped", "follows-convention"},
    4: {"averages-never-updated"},
    5: {"averages-move-in-test", "test-after-update", "test-trains"},
    6: {"batch-statistics-in-test", "test-trains"},
    7: {"averages-in-training"},
    8: {"epsilon-outside", "epsilon-squared", "epsilon-missing", "no-root"},
    9: {"variance-uncentred"},
    10: {"one-pass-variance"},
    11: {"row-statistics", "channels-mixed", "position-statistics", "wrong-axes"},
    12: {"statistics-constant"},
    13: {"mean-path-missing", "variance-path-missing"},
    14: {"count-without-positions", "scale-missing-in-dx"},
    15: {"dscale-from-x", "dscale-from-y", "gradients-averaged"},
    16: {"offset-inside-scale"},
    17: {"deviation-stored"},
    18: {"variance-start", "not-debiased"},
    19: {"input-changed", "average-in-place", "state-kept"},
    20: {"dtype-changed", "batch-of-one"},
}

# These accuse of nothing new: a consequence, a habit, or a part that cannot be judged yet.
NEUTRAL = {
    "follows-forward",
    "follows-forward-epsilon",
    "dscale-follows-forward",
    "right-for-own-forward",
    "right-by-the-book",
    "images-right-for-own",
    "images-dx-open",
    "dx-open",
    "not-judged",
    "integers",
    "average-shape",
    "gradient-shape",
    "images-calls-own",
    "images-same-function",
    "right-for-stored",
    "parameter-follows-forward",
}


def said(report):
    """The numbers of the mistakes that a report names; a code of none of them stands for itself."""
    codes = {found.code for found in report.findings + report.remarks} - NEUTRAL
    named = {number for number, own in CODES.items() if codes & own}
    return named | (codes - set().union(*CODES.values()))
