"""Training goes on after an import as it would have in the library: whatever its counter says."""

import numpy as np
import pytest

from pybn.batchnorm import Averages
from pybn.study import interop
from pybn.study.interop import LIBRARIES, rules
from pybn.study.interop.conventions import LIBRARIES as ROWS

COUNT, CHANNELS = 8, 3
CONTINUED = (1, 3, 20)
# (library, momentum in its own sense)
CASES = [
    *(("pytorch", momentum) for momentum in (0.1, 0.01, 0.5, 1.0, None)),
    *(("tinygrad", momentum) for momentum in (0.1, None)),
    ("mlx", 0.1),
    *((name, momentum) for name in ("keras", "flax", "onnx") for momentum in (0.0, 0.7, 0.9, 0.99)),
    *(("gomlx", momentum) for momentum in (0.0, 0.9, 0.99, 1.0)),
]


def batches(rng, number):
    """Means and population variances that wander, so that a wrong weight of one batch shows."""
    means = np.cumsum(rng.normal(size=(number, CHANNELS)), axis=0)
    return [(mean, rng.uniform(0.5, 4, CHANNELS)) for mean in means]


def imported(name, rule, momentum):
    """The State that the reader makes of the rule's averages under the library's names."""
    row = ROWS[name]
    arrays = {row.mean: rule.mean, row.variance: rule.variance}
    if row.counter is not None:
        arrays[row.counter] = np.full(CHANNELS, rule.batches) if name == "gomlx" else np.int64(rule.batches)
    if name in ("pytorch", "tinygrad", "mlx"):
        return interop.from_pytorch(arrays, count=COUNT, momentum=momentum)
    if name == "flax":
        return interop.from_flax({}, arrays, momentum=momentum)
    return getattr(interop, f"from_{name}")(arrays, momentum=momentum)


def go_on(rule, state, stream):
    """The averages there and here after each batch of `stream`, both with the population's variance."""
    here = Averages(state.mean, state.variance, state.avg_weight)
    for mean, variance in stream:
        rule.update(mean, variance, COUNT)
        here = here.after(mean, variance, state.momentum)
        sampled = rule.library.averaged_variance == "sample"
        yield (rule.mean, interop.population_variance(rule.variance, COUNT) if sampled else rule.variance), here


@pytest.mark.parametrize("seen", [1, 2, 3, 9, 40, 500])
@pytest.mark.parametrize(("name", "momentum"), CASES)
def test_the_averages_move_as_there(rng, name, momentum, seen):
    rule = rules[name](momentum=momentum)
    for mean, variance in batches(rng, seen):
        rule.update(mean, variance, COUNT)
    state = imported(name, rule, momentum)
    for step, (there, here) in enumerate(go_on(rule, state, batches(rng, max(CONTINUED))), start=1):
        if step in CONTINUED:
            # float64 on both sides, a handful of roundings a batch.
            np.testing.assert_allclose(here.mean, there[0], rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(here.variance, there[1], rtol=1e-12)


@pytest.mark.parametrize("seen", [1, 3, 9, 500])
@pytest.mark.parametrize("decay_rate", [0.0, 0.5, 0.9, 0.99])
def test_haikus_next_batch_is_as_there_and_the_later_ones_nearly(seen, decay_rate):
    """Its correction is another rule than pybn's, so the two agree at the next batch, and where the memory is full."""
    rule = rules["haiku"](momentum=decay_rate)
    for _ in range(seen):
        rule.update(np.ones(1), np.ones(1), COUNT)
    ema = {"average": rule.mean, "counter": np.int32(rule.batches)}
    state = interop.from_haiku({}, ema, ema, decay_rate=decay_rate)
    here, kept = Averages(state.mean, state.variance, state.avg_weight), []
    for _ in range(max(CONTINUED)):
        rule.update(np.zeros(1), np.ones(1), COUNT)
        here = here.after(np.zeros(1), np.ones(1), state.momentum)
        kept.append((rule.mean[0], here.mean[0]))  # what is left of the imported average
    assert kept[0][1] == pytest.approx(kept[0][0], abs=1e-5)
    # What is left of an imported average differs by up to .082, wherever one looks; with Haiku's counter for a
    # weight it would by up to .17.
    assert all(abs(a - b) < 0.085 for a, b in kept), kept


@pytest.mark.parametrize("seen", [0, 1, 2, 3, 9, 40])
@pytest.mark.parametrize("momentum", [0.1, 0.01, None])
def test_pytorch_itself(rng, seen, momentum):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module = torch.nn.BatchNorm1d(CHANNELS, momentum=momentum, affine=False)
    xs = rng.normal(rng.normal(size=(seen + 20, 1, 1)), 2, size=(seen + 20, COUNT, CHANNELS)).astype(np.float32)
    for x in xs[:seen]:
        module(torch.from_numpy(x))
    state = interop.from_pytorch(module.state_dict(), count=COUNT, momentum=momentum)
    here = Averages(state.mean, state.variance, state.avg_weight)
    for step, x in enumerate(xs[seen:], start=1):
        module(torch.from_numpy(x))
        here = here.after(x.mean(0, np.float64), x.var(0, dtype=np.float64), state.momentum)
        if step in CONTINUED:
            # Its averages are float32: a unit of the largest terms, about 4, for each batch.
            np.testing.assert_allclose(here.mean, module.running_mean, rtol=0, atol=20 * 4 * 2.0**-23)
            sampled = interop.sample_variance(here.variance, COUNT)
            np.testing.assert_allclose(sampled, module.running_var, rtol=20 * 2.0**-22)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras on PyTorch
def test_keras_itself(rng):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    layer = keras.layers.BatchNormalization(momentum=0.9)
    xs = rng.normal(3, 2, size=(23, COUNT, CHANNELS)).astype(np.float32)
    for x in xs[:3]:
        layer(x, training=True)
    state = interop.from_keras({w.path: w for w in layer.weights}, momentum=0.9)
    here = Averages(state.mean, state.variance, state.avg_weight)
    for step, x in enumerate(xs[3:], start=1):
        layer(x, training=True)
        here = here.after(x.mean(0, np.float64), x.var(0, dtype=np.float64), state.momentum)
        if step in CONTINUED:
            np.testing.assert_allclose(here.mean, np.asarray(layer.moving_mean), rtol=0, atol=20 * 4 * 2.0**-23)
            np.testing.assert_allclose(here.variance, np.asarray(layer.moving_variance), rtol=20 * 2.0**-22)


@pytest.mark.parametrize(("tracked", "weight"), [(0, 10), (1, 10), (3, 10), (9, 10), (10, 10), (500, 500)])
def test_a_fixed_momentum_gives_at_least_its_memory(tracked, weight):
    arrays = {"running_mean": np.zeros(1), "running_var": np.ones(1), "num_batches_tracked": np.int64(tracked)}
    assert interop.from_pytorch(arrays, count=16).avg_weight == weight
    # 0 among them: a layer that has seen no batch, whose averages the first one replaces.
    assert interop.from_pytorch(arrays, count=16, momentum=None).avg_weight == tracked
    assert interop.from_pytorch(arrays, count=16, avg_weight=2).avg_weight == 2


def test_a_layer_of_gomlx_that_has_averaged_nothing_stays_so():
    arrays = {"mean": np.zeros(2), "variance": np.ones(2), "avg_weight": np.zeros(2)}
    assert interop.from_gomlx(arrays).avg_weight == 0


@pytest.mark.parametrize("weight", [1.0, 2.0, 2.5, 4.0, 37.0, 1000.0])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.75, 0.9])
def test_haiku_goes_on_as_pybn_would_have(weight, momentum):
    state = interop.State(np.ones(2), np.ones(2), avg_weight=weight, momentum=momentum)
    _, mean_ema, _ = interop.to_haiku(state, ndim=2)
    counter, keeps = int(mean_ema["counter"]), min(momentum, 1 - 1 / (weight + 1))
    kept = LIBRARIES["haiku"].kept
    if weight * (1 - momentum) >= momentum:
        assert kept(counter + 1, momentum) == pytest.approx(keeps, abs=1e-5)
    else:  # its counter is a whole number, the nearest
        assert kept(counter + 0.5, momentum) <= keeps <= kept(counter + 1.5, momentum)
