"""Other libraries' state and averages rules: against worked numbers, and against the libraries themselves."""

import inspect
import math

import numpy as np
import pytest

from pybn import Trainer, batch_norm, batchnorm, ops, optimizers, reference
from pybn.framework.context import Context
from pybn.framework.initializers import zeros
from pybn.framework.runs import ConcurrentTrainingError
from pybn.study import interop
from pybn.study.interop import LIBRARIES, State, rules
from tests.support.arrays import WITHOUT

CHANNELS = 5


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def state(rng):
    return State(
        mean=rng.normal(2, 3, CHANNELS),
        variance=rng.uniform(0.1, 4, CHANNELS),
        scale=rng.normal(size=CHANNELS),
        offset=rng.normal(size=CHANNELS),
        avg_weight=37.0,
        momentum=0.75,
        epsilon=0.01,
        count=24,
    )


def stream(rng, batches=7, rows=6, offset=3.0):
    """Uneven batches, so that a rule that weighs or converts wrongly cannot hide."""
    return [rng.normal(offset, 2, size=(rows + step % 3, CHANNELS)).astype(np.float32) for step in range(batches)]


def follow(rule, batches):
    """The rule's (mean, variance) after each batch."""
    seen = []
    for x in batches:
        count, mean, variance = reference.moments(x)
        rule.update(mean, variance, count)
        seen.append((rule.mean, rule.variance))
    return seen


def evaluate(state, x, feature_axis=-1):
    return reference.batch_norm_inference(
        x, state.scale, state.offset, state.mean, state.variance, feature_axis=feature_axis, epsilon=state.epsilon
    )


def assert_close(got, expected, units=16):
    # A handful of float32 operations each way, as the other library does them: a few units of the largest element.
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(got, expected, rtol=0, atol=units * np.finfo(np.float32).eps * np.abs(expected).max())


def assert_same_state(got, expected):
    for name in ("mean", "variance", "scale", "offset"):
        assert_close(getattr(got, name), getattr(expected, name), units=4)
    assert got.momentum == pytest.approx(expected.momentum, rel=1e-15)
    assert got.epsilon == expected.epsilon


# --- the rules, worked by hand ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("library", "momentum", "means"),
    [
        # Batch means 1, 3, 8.
        ("pybn", 0.99, [1, 2, 4]),
        ("pybn", 0.5, [1, 2, 5]),
        ("pybn", 1.0, [1, 2, 4]),
        ("gomlx", 0.5, [1, 2, 5]),
        ("keras", 0.5, [0.5, 1.75, 4.875]),
        ("flax", 0.5, [0.5, 1.75, 4.875]),
        ("onnx", 0.75, [0.25, 0.9375, 2.703125]),
        ("pytorch", 0.25, [0.25, 0.9375, 2.703125]),
        ("pytorch", None, [1, 2, 4]),
        ("mlx", 0.25, [0.25, 0.9375, 2.703125]),
        ("haiku", 0.5, [1, 1.75 / 0.75, 4.875 / 0.875]),
        ("paper", None, [1, 2, 4]),
    ],
)
def test_rule_by_hand(library, momentum, means):
    rule = rules[library](momentum=momentum)
    for batch_mean, expected in zip((1.0, 3.0, 8.0), means, strict=True):
        rule.update(batch_mean, 0.0, count=2)
        assert rule.mean == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("library", rules)
def test_the_averaged_variance_is_the_sample_one_where_the_table_says_so(library):
    rule = rules[library](momentum=0.5) if library != "paper" else rules[library]()
    rule.update(mean=0.0, variance=3.0, count=4)
    expected = 4.0 if rule.library.averaged_variance == "sample" else 3.0
    start = 0.0 if library in ("pybn", "gomlx", "haiku", "paper") else 0.5  # the start value 1 leaves a trace or not
    assert rule.variance == pytest.approx(start + (1 - start) * expected, rel=1e-15)


def test_the_effective_momentum_is_told():
    rule = rules["pybn"](momentum=0.75)
    kept = []
    for _ in range(6):
        rule.update(1.0, 1.0, 8)
        kept.append(rule.kept)
    assert kept == pytest.approx([0, 1 / 2, 2 / 3, 3 / 4, 3 / 4, 3 / 4])
    assert rule.batches == 6


def test_the_defaults_are_those_of_the_table():
    assert rules["pytorch"]().momentum == 0.1
    assert rules["onnx"]().momentum == 0.9
    with pytest.raises(ValueError, match=r"Haiku .* has no default momentum"):
        rules["haiku"]()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.5}, r"momentum must lie in \[0, 1\], got 1.5"),
        ({"momentum": -0.1}, r"momentum must lie in \[0, 1\], got -0.1"),
    ],
)
def test_a_wrong_momentum_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rules["keras"](**arguments)


def test_no_cumulative_average_where_the_library_has_none():
    with pytest.raises(TypeError, match="momentum must be a number, got None"):
        rules["keras"](momentum=None)


@pytest.mark.parametrize("count", [1, 0, 2.5, math.nan, -math.inf])
def test_a_sample_variance_needs_two_elements(count):
    with pytest.raises(ValueError, match="count must be a whole number of 2 or more"):
        rules["pytorch"]().update(0.0, 1.0, count)


# --- conversions -----------------------------------------------------------------------------


def test_sample_and_population_variance(rng):
    x = rng.normal(size=(7, 3))
    np.testing.assert_allclose(interop.sample_variance(x.var(0), 7), x.var(0, ddof=1), rtol=1e-14)
    np.testing.assert_allclose(interop.population_variance(x.var(0, ddof=1), 7), x.var(0), rtol=1e-14)
    np.testing.assert_array_equal(interop.sample_variance(x.var(0), math.inf), x.var(0))


@pytest.mark.parametrize("library", LIBRARIES)
def test_momentum_goes_there_and_back(library):
    row = LIBRARIES[library]
    for kept in (0.0, 0.5, 0.75, 0.99):
        assert row.to_pybn(row.from_pybn(kept)) == pytest.approx(kept, abs=1e-16)


@pytest.mark.parametrize(("library", "momentum"), [("pytorch", 0.0), ("keras", 1.0), ("onnx", 1.0)])
def test_a_momentum_that_never_moves_the_averages_is_refused(library, momentum):
    with pytest.raises(ValueError, match="frozen_averages"):
        LIBRARIES[library].to_pybn(momentum)


def test_options_are_the_constructors_keywords(state):
    assert interop.options("pytorch", state) == {"momentum": 0.25, "eps": 0.01}
    assert interop.options("keras", state) == {"momentum": 0.75, "epsilon": 0.01}
    assert interop.options("haiku", state) == {"decay_rate": 0.75, "eps": 0.01}
    with pytest.raises(ValueError, match=r"library must be one of .*got 'jax'"):
        interop.options("jax", state)


def there_and_back(library, state, options):
    """The state after a journey through the library's arrays."""
    if library == "flax":
        return interop.from_flax(*interop.to_flax(state), **options)
    if library == "haiku":
        return interop.from_haiku(
            *interop.to_haiku(state, ndim=4), decay_rate=options["decay_rate"], epsilon=options["eps"]
        )
    if library == "pytorch":
        arrays = interop.to_pytorch(state)
        return interop.from_pytorch(arrays, count=state.count, momentum=options["momentum"], epsilon=options["eps"])
    arrays = getattr(interop, f"to_{library}")(state)
    return getattr(interop, f"from_{library}")(arrays, **options)


@pytest.mark.parametrize("library", ["pytorch", "keras", "flax", "nnx", "onnx", "haiku", "gomlx"])
def test_round_trip(state, library):
    options = interop.options("flax" if library == "nnx" else library, state)
    back = there_and_back(library, state, options)
    assert_same_state(back, state)
    counts_batches = library in ("pytorch", "haiku", "gomlx")
    assert back.avg_weight == (37.0 if counts_batches else 4.0)  # else momentum's memory, 1 / (1 - 0.75)


def test_a_layer_without_scale_and_offset(state):
    bare = State(state.mean, state.variance, avg_weight=2, count=24)
    assert sorted(interop.to_pytorch(bare)) == ["num_batches_tracked", "running_mean", "running_var"]
    assert sorted(interop.to_keras(bare)) == ["moving_mean", "moving_variance"]
    assert interop.to_onnx(bare)["scale"].tolist() == [1.0] * CHANNELS
    assert interop.to_onnx(bare)["B"].tolist() == [0.0] * CHANNELS
    assert interop.from_keras(interop.to_keras(bare)).scale is None


def test_pytorch_has_weight_and_bias_or_neither(state):
    only_scale = State(state.mean, state.variance, scale=state.scale, count=24)
    assert interop.to_pytorch(only_scale)["bias"].tolist() == [0.0] * CHANNELS


def test_haikus_hidden_sums_are_the_averages_before_the_correction(state):
    _, mean_ema, var_ema = interop.to_haiku(state, ndim=2)
    weight = 1 - state.momentum**state.avg_weight  # of 37 batches in a sum that started at 0
    assert_close(mean_ema["hidden"], (state.mean * weight)[None], units=2)
    assert_close(var_ema["hidden"], (state.variance * weight)[None], units=2)
    early = State(state.mean, state.variance, avg_weight=1.0, momentum=0.75)
    assert_close(interop.to_haiku(early, ndim=2)[1]["hidden"], 0.25 * state.mean[None], units=2)


def test_the_counter_is_zero_only_where_the_counter_alone_counts():
    arrays = {"running_mean": np.zeros(2), "running_var": np.ones(2), "num_batches_tracked": np.int64(0)}
    assert interop.from_pytorch(arrays, count=4).avg_weight == 10.0
    assert interop.from_pytorch(arrays, count=4, avg_weight=3).avg_weight == 3.0
    with pytest.raises(ValueError, match="avg_weight must be 1 or more"):
        interop.from_pytorch(arrays, count=4, avg_weight=0)
    assert interop.from_pytorch(arrays, count=4, momentum=None).avg_weight == 0.0  # the next batch takes their place
    del arrays["num_batches_tracked"]
    with pytest.raises(ValueError, match="avg_weight must be given where every batch counts alike"):
        interop.from_pytorch(arrays, count=4, momentum=None)


def test_imported_averages_survive_the_next_batch(rng):
    # With a weight of 0 the next batch would be all that is left (k = 1 - 1/1 = 0).
    imported = interop.from_keras({"moving_mean": np.full(3, 10.0), "moving_variance": np.full(3, 4.0)}, momentum=0.75)
    ctx, x = Context(rng=0), rng.normal(size=(8, 3))

    def layer():
        return batchnorm.new(ctx, x).center(False).scale(False).momentum(0.75).done()

    with ctx.forward_pass():
        layer()
    interop.write_layer(ctx, "/batch_normalization", imported)
    with ctx.forward_pass(training=True):
        layer()
        ctx.apply()
    moved = interop.read_layer(ctx, "/batch_normalization")
    np.testing.assert_allclose(moved.mean, 0.75 * 10 + 0.25 * x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moved.variance, 0.75 * 4 + 0.25 * x.var(0), rtol=1e-14)


# --- errors ----------------------------------------------------------------------------------


def pytorch_arrays(**changes):
    return {"running_mean": np.zeros(3), "running_var": np.ones(3)} | changes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interop.from_pytorch(pytorch_arrays()), "count must be the number of elements .* got None"),
        (lambda: interop.from_pytorch({"running_mean": np.zeros(3)}, count=2), r"missing \['running_var'\]"),
        (lambda: interop.from_pytorch(pytorch_arrays(gamma=np.ones(3)), count=2), r"unknown \['gamma'\]"),
        (lambda: interop.from_pytorch(pytorch_arrays(), count=2, prefix="bn1."), "missing .*running_mean"),
        (
            lambda: interop.from_pytorch(pytorch_arrays(running_var=np.ones(4)), count=2),
            "running_var must have as many features as running_mean, 3, got 4",
        ),
        (
            lambda: interop.from_pytorch(pytorch_arrays(weight=np.ones((3, 2))), count=2),
            r"weight must have one axis larger than 1, the features, got shape \(3, 2\)",
        ),
        (lambda: interop.from_pytorch(pytorch_arrays(), count=1), "count must be a whole number of 2 or more"),
        (lambda: interop.from_pytorch(pytorch_arrays(running_var=-np.ones(3)), count=2), "variance must not be neg"),
        (
            lambda: interop.from_pytorch(pytorch_arrays(num_batches_tracked=-1), count=2),
            "num_batches_tracked must be one number of batches",
        ),
        (
            lambda: interop.from_gomlx({"mean": np.zeros(2), "variance": np.ones(2), "avg_weight": np.array([1.0, 2])}),
            "avg_weight must be one number of batches",
        ),
        (lambda: interop.to_pytorch(State(np.zeros(2), np.ones(2))), "count must be the number of elements"),
        (lambda: interop.to_haiku(State(np.zeros(2), np.ones(2)), ndim=2), "avg_weight must be 1 or more"),
        (
            lambda: interop.from_haiku(
                {}, *[{"average": np.zeros((1, 2)), "counter": 0, "hidden": np.zeros((1, 2))}] * 2, decay_rate=0.9
            ),
            "must have seen a batch",
        ),
        (
            lambda: interop.from_haiku(
                {"scale": np.ones((2, 3))}, *[{"average": np.ones((1, 3)), "counter": 1}] * 2, decay_rate=0.9
            ),
            "scale must have one axis larger than 1",
        ),
    ],
)
def test_errors_name_the_rule_and_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_are_not_statistics():
    with pytest.raises(TypeError, match="running_var must be float16, bfloat16, float32 or float64, got int64"):
        interop.from_pytorch(pytorch_arrays(running_var=np.ones(3, np.int64)), count=2)


# --- pybn's own layer ------------------------------------------------------------------------


SCOPE = "/layer_0/batch_normalization"


def built_layer(**options):
    """A context with one layer of pybn, run once so that its variables exist."""
    ctx = Context(rng=0)
    with ctx.forward_pass():
        batch_norm(ctx.in_scope("layer_0"), np.zeros((2, CHANNELS), np.float32), **options)
    return ctx


def test_layer_there_and_back(state):
    ctx = built_layer()
    interop.write_layer(ctx, SCOPE, state)
    back = interop.read_layer(ctx, SCOPE, momentum=state.momentum, epsilon=state.epsilon)
    assert_same_state(back, state)
    assert back.avg_weight == state.avg_weight
    assert ctx.get_variable(f"{SCOPE}/mean").value.tolist() == state.mean.tolist()


def test_a_layer_that_learns_more_or_less_than_the_state(state):
    bare = State(state.mean, state.variance, avg_weight=5)
    ctx = built_layer()
    interop.write_layer(ctx, SCOPE, bare)
    assert ctx.get_variable(f"{SCOPE}/scale").value.tolist() == [1.0] * CHANNELS
    with pytest.raises(ValueError, match="learns no scale, but the state has one"):
        interop.write_layer(built_layer(scale=False), SCOPE, state)


@pytest.mark.parametrize("name", ["mean", "variance", "scale", "offset"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_state_that_was_spoilt_in_place_is_not_written(state, name, value):
    ctx = built_layer()
    before = {variable.path: variable.value for variable in ctx.variables()}
    getattr(state, name)[2] = value
    with pytest.raises(ValueError, match=f"^{name} must .*got {value:g} in feature 2$"):
        interop.write_layer(ctx, SCOPE, state)
    assert all(variable.value is before[variable.path] for variable in ctx.variables())


def test_a_number_that_the_layers_type_cannot_hold_is_not_written(state):
    ctx = built_layer()
    large = State(state.mean, state.variance, scale=np.full(CHANNELS, 1e39), offset=state.offset)
    with pytest.raises(ValueError, match=r"scale must fit float32, whose largest number is 3.4e\+38, got 1e\+39"):
        interop.write_layer(ctx, SCOPE, large)


@WITHOUT
def test_a_number_that_bfloat16_cannot_hold_is_told_without_finfo(state):
    large = State(state.mean, np.full(CHANNELS, 1e39))
    with pytest.raises(ValueError, match=r"moving_variance must fit bfloat16, got 1e\+39"):
        interop.to_keras(large, dtype="bfloat16")


def test_a_type_of_raw_bytes_is_no_type_of_floats(state):
    with pytest.raises(TypeError, match=r"dtype must be a type of floats: .* got \|V4"):
        interop.to_keras(state, dtype="V4")


def test_a_layer_with_spoilt_averages_is_not_read(state):
    ctx = built_layer()
    ctx.get_variable(f"{SCOPE}/mean").value = np.array([0, math.nan, 0, 0, 0])
    with pytest.raises(ValueError, match=r"^mean must be finite, got nan in feature 1$"):
        interop.read_layer(ctx, SCOPE)


def test_a_failed_write_changes_nothing(state):
    ctx = Context(rng=0)
    layer = ctx.in_absolute_path(SCOPE)
    sizes = {"mean": CHANNELS, "variance": CHANNELS + 1}  # the first would take its value, the second cannot
    for name, size in sizes.items():
        layer.variable(name, (size,), np.float64, zeros, trainable=False)
    layer.variable("avg_weight", (), np.float64, zeros, trainable=False)
    with pytest.raises(ValueError, match="must keep its shape"):
        interop.write_layer(ctx, SCOPE, State(state.mean, state.variance, avg_weight=1))
    assert all(not variable.value.any() for variable in ctx.variables())


# --- the libraries themselves ----------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def trained_torch(torch, module, batches):
    module.train()
    seen = []
    for x in batches:
        module(torch.from_numpy(x))
        seen.append((module.running_mean.numpy().copy(), module.running_var.numpy().copy()))
    return seen


@pytest.mark.parametrize("momentum", [0.1, 0.75, None])
def test_pytorch_rule(torch, rng, momentum):
    batches = stream(rng)
    module = torch.nn.BatchNorm1d(CHANNELS, momentum=momentum)
    theirs = trained_torch(torch, module, batches)
    for ours, (mean, variance) in zip(follow(rules["pytorch"](momentum=momentum), batches), theirs, strict=True):
        assert_close(ours[0], mean)
        assert_close(ours[1], variance)


@pytest.mark.parametrize("shape", [(8, CHANNELS), (3, CHANNELS, 4), (2, CHANNELS, 4, 3)])
@pytest.mark.parametrize("affine", [True, False])
def test_pytorch_evaluation_after_import_and_export(torch, rng, shape, affine):
    kind = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    module = kind(CHANNELS, affine=affine, eps=0.01, momentum=0.25)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(5))
    x = rng.normal(3, 2, size=shape).astype(np.float32)
    trained_torch(torch, module, [x, 2 * x])
    module.eval()
    theirs = module(torch.from_numpy(x)).detach().numpy()

    as_it_is = interop.from_pytorch(module.state_dict(), count=math.inf, momentum=0.25, epsilon=0.01)
    assert_close(evaluate(as_it_is, x, feature_axis=1), theirs)
    assert as_it_is.avg_weight == 4  # the length of the memory: two batches are fewer

    converted = interop.from_pytorch(module.state_dict(), count=x.size // CHANNELS, momentum=0.25, epsilon=0.01)
    twin = kind(CHANNELS, affine=affine, **interop.options("pytorch", converted))
    twin.load_state_dict({name: torch.from_numpy(a) for name, a in interop.to_pytorch(converted).items()})
    twin.eval()
    assert_close(twin(torch.from_numpy(x)).detach().numpy(), theirs)
    assert twin.num_batches_tracked == 4


def test_pytorch_population_variance_is_that_of_the_batch(torch, rng):
    # momentum 1 in PyTorch: the averages are the last batch's, so the conversion must give its population variance.
    x = rng.normal(3, 2, size=(4, CHANNELS)).astype(np.float32)
    module = torch.nn.BatchNorm1d(CHANNELS, momentum=1.0)
    trained_torch(torch, module, [x])
    state = interop.from_pytorch(module.state_dict(), count=4, momentum=1.0)
    assert_close(state.variance, x.astype(np.float64).var(0))
    assert state.momentum == 0.0


def test_pytorch_prefix(torch):
    model = torch.nn.Sequential(torch.nn.Linear(3, CHANNELS), torch.nn.BatchNorm1d(CHANNELS))
    state = interop.from_pytorch(model.state_dict(), count=8, prefix="1.")
    written = interop.to_pytorch(state, prefix="1.")
    assert set(written) == {name for name in model.state_dict() if name.startswith("1.")}


def test_a_pytorch_model_moves_into_pybns_layer(torch, rng):
    module = torch.nn.BatchNorm1d(CHANNELS, momentum=0.25, eps=0.01)
    x = rng.normal(3, 2, size=(8, CHANNELS)).astype(np.float32)
    trained_torch(torch, module, [x, 2 * x])
    module.eval()
    theirs = module(torch.from_numpy(x)).detach().numpy()
    state = interop.from_pytorch(module.state_dict(), count=math.inf, momentum=0.25, epsilon=0.01)
    options = interop.options("pybn", state)
    ctx = built_layer(**options)
    interop.write_layer(ctx, SCOPE, state)
    with ctx.forward_pass():
        assert_close(batch_norm(ctx.in_scope("layer_0"), x, **options).value, theirs)


@pytest.fixture(scope="module")
def keras():
    return pytest.importorskip("keras", reason="Keras is not installed")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras on PyTorch
def test_keras(keras, rng, state):
    batches = stream(rng)
    layer = keras.layers.BatchNormalization(momentum=0.75, epsilon=0.01)
    rule = rules["keras"](momentum=0.75)
    for x in batches:
        layer(x, training=True)
        _, mean, variance = reference.moments(x)
        rule.update(mean, variance, len(x))
        assert_close(rule.mean, layer.moving_mean)
        assert_close(rule.variance, layer.moving_variance)
    imported = interop.from_keras({w.name: np.asarray(w) for w in layer.weights}, momentum=0.75, epsilon=0.01)
    assert_close(evaluate(imported, batches[0]), keras.ops.convert_to_numpy(layer(batches[0], training=False)))
    layer.set_weights(list(interop.to_keras(state).values()))
    assert_close(keras.ops.convert_to_numpy(layer(batches[0], training=False)), evaluate(state, batches[0]))


@pytest.fixture(scope="module")
def flax():
    return pytest.importorskip("flax", reason="Flax is not installed")


def test_flax_linen(flax, rng, state):
    import flax.linen as nn
    import jax

    batches = stream(rng)
    module = nn.BatchNorm(momentum=0.75, epsilon=0.01)
    variables = module.init(jax.random.key(0), batches[0], use_running_average=False)
    for x, ours in zip(batches, follow(rules["flax"](momentum=0.75), batches), strict=True):
        _, new = module.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
        variables = {**variables, **new}
        # Flax's one-pass variance subtracts two numbers of the size of mean^2 = 9: more units than the others.
        assert_close(ours[0], variables["batch_stats"]["mean"])
        assert_close(ours[1], variables["batch_stats"]["var"], units=64)
    imported = interop.from_flax(variables["params"], variables["batch_stats"], momentum=0.75, epsilon=0.01)
    assert_close(evaluate(imported, batches[0]), module.apply(variables, batches[0], use_running_average=True))
    params, stats = interop.to_flax(state)
    theirs = module.apply({"params": params, "batch_stats": stats}, batches[0], use_running_average=True)
    assert_close(theirs, evaluate(state, batches[0]))


def test_flax_nnx(flax, rng, state):
    from flax import nnx

    batches = stream(rng)
    module = nnx.BatchNorm(CHANNELS, momentum=0.75, epsilon=0.01, rngs=nnx.Rngs(0))
    for x, ours in zip(batches, follow(rules["flax"](momentum=0.75), batches), strict=True):
        module(x, use_running_average=False)
        assert_close(ours[0], module.mean[...])
        assert_close(ours[1], module.var[...], units=64)
    arrays = {name: getattr(module, name)[...] for name in ("scale", "bias", "mean", "var")}
    imported = interop.from_nnx(arrays, momentum=0.75, epsilon=0.01)
    assert_close(evaluate(imported, batches[0]), module(batches[0], use_running_average=True))
    for name, values in interop.to_nnx(state).items():
        getattr(module, name)[...] = values
    assert_close(module(batches[0], use_running_average=True), evaluate(state, batches[0]))


def test_haiku(rng, state):
    hk = pytest.importorskip("haiku", reason="Haiku is not installed")

    batches = stream(rng)
    net = hk.transform_with_state(lambda x, training: hk.BatchNorm(True, True, 0.75, eps=0.01)(x, training))
    params, stats = net.init(None, batches[0], True)
    for x, ours in zip(batches, follow(rules["haiku"](momentum=0.75), batches), strict=True):
        _, stats = net.apply(params, stats, None, x, True)
        assert_close(ours[0], stats["batch_norm/~/mean_ema"]["average"].ravel())
        assert_close(ours[1], stats["batch_norm/~/var_ema"]["average"].ravel(), units=64)
    emas = [stats["batch_norm/~/mean_ema"], stats["batch_norm/~/var_ema"]]
    imported = interop.from_haiku(params["batch_norm"], *emas, decay_rate=0.75, epsilon=0.01)
    assert_close(evaluate(imported, batches[0]), net.apply(params, stats, None, batches[0], False)[0])
    seen = len(batches)
    kept = 0.75 * (1 - 0.75**seen) / (1 - 0.75 ** (seen + 1))  # of Haiku's average by its next batch
    assert 1 - 1 / (imported.avg_weight + 1) == pytest.approx(kept, rel=1e-6)

    written, mean_ema, var_ema = interop.to_haiku(imported, ndim=2)
    for ours, theirs in zip((mean_ema, var_ema), emas, strict=True):
        for name, values in theirs.items():
            assert_close(ours[name], values)
    written, mean_ema, var_ema = interop.to_haiku(state, ndim=2)
    stats = {"batch_norm/~/mean_ema": mean_ema, "batch_norm/~/var_ema": var_ema}
    theirs, _ = net.apply({"batch_norm": written}, stats, None, batches[0], False)
    assert_close(theirs, evaluate(state, batches[0]))


def test_onnx(rng, state):
    helper = pytest.importorskip("onnx.helper", reason="ONNX is not installed")
    from onnx import TensorProto, numpy_helper
    from onnx.reference import ReferenceEvaluator

    initializers = interop.to_onnx(state)

    def model(initializers, training):
        outputs = ["Y", "running_mean", "running_var"] if training else ["Y"]
        node = helper.make_node(
            "BatchNormalization",
            ["X", *initializers],
            outputs,
            epsilon=0.01,
            momentum=0.75,
            training_mode=int(training),
        )
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, CHANNELS])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(values, name) for name, values in initializers.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])

    x = stream(rng)[0]
    (theirs,) = ReferenceEvaluator(model(initializers, training=False)).run(None, {"X": x})
    assert_close(theirs, evaluate(state, x))
    stored = {i.name: numpy_helper.to_array(i) for i in model(initializers, training=False).graph.initializer}
    assert_same_state(interop.from_onnx(stored, momentum=0.75, epsilon=0.01), state)

    fresh = initializers | {"input_mean": np.zeros(CHANNELS, np.float32), "input_var": np.ones(CHANNELS, np.float32)}
    rule = rules["onnx"](momentum=0.75)
    for x in stream(rng):
        _, fresh["input_mean"], fresh["input_var"] = ReferenceEvaluator(model(fresh, training=True)).run(None, {"X": x})
        _, mean, variance = reference.moments(x)
        rule.update(mean, variance, len(x))
        assert_close(rule.mean, fresh["input_mean"])
        assert_close(rule.variance, fresh["input_var"])


def test_mlx(rng):
    mx = pytest.importorskip("mlx.core", reason="MLX is not installed")
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    batches = stream(rng)
    module = nn.BatchNorm(CHANNELS, eps=0.01, momentum=0.25)
    for x, ours in zip(batches, follow(rules["mlx"](momentum=0.25), batches), strict=True):
        module(mx.array(x))
        assert_close(ours[0], module.running_mean)
        assert_close(ours[1], module.running_var)
    module.eval()
    arrays = {name: np.array(values) for name, values in tree_flatten(module.parameters())}
    imported = interop.from_pytorch(arrays, count=math.inf, momentum=0.25, epsilon=0.01)
    assert_close(evaluate(imported, batches[0]), module(mx.array(batches[0])))


def test_tinygrad(rng):
    tinygrad = pytest.importorskip("tinygrad", reason="tinygrad is not installed")
    from tinygrad.nn.state import get_state_dict

    batches = stream(rng)
    module = tinygrad.nn.BatchNorm(CHANNELS, eps=0.01, momentum=0.25)
    with tinygrad.helpers.Context(TRAINING=1):
        for x, ours in zip(batches, follow(rules["tinygrad"](momentum=0.25), batches), strict=True):
            module(tinygrad.Tensor(x)).realize()
            assert_close(ours[0], module.running_mean.numpy())
            assert_close(ours[1], module.running_var.numpy())
    arrays = {name: values.numpy() for name, values in get_state_dict(module).items()}
    imported = interop.from_pytorch(arrays, count=math.inf, momentum=0.25, epsilon=0.01)
    assert imported.avg_weight == len(batches)
    assert_close(evaluate(imported, batches[0]), module(tinygrad.Tensor(batches[0])).numpy())


@pytest.mark.parametrize("scope", ["/", "/batch_normalization/", "batch_normalization"])
def test_a_scope_at_the_root_or_with_a_slash_at_its_end(state, scope):
    ctx = Context(0)
    batch_norm(ctx, np.ones((4, CHANNELS)), current_scope=scope == "/")
    interop.write_layer(ctx, scope, state)
    np.testing.assert_array_equal(interop.read_layer(ctx, scope).mean, state.mean)


def test_a_layer_is_not_written_in_the_middle_of_a_step(state):
    """The step would put the averages that it began with back in their place."""

    scope = "/batch_normalization"

    def model(ctx, x):
        if ctx.is_training:
            interop.write_layer(ctx, scope, state)
        return batch_norm(ctx, x)

    trainer = Trainer(Context(0), model, lambda labels, y: ops.mean(y), optimizers.SGD(0.1))
    x = np.ones((4, CHANNELS))
    trainer.predict(x)
    with pytest.raises(ConcurrentTrainingError, match="write_layer cannot begin while a training step"):
        trainer.train_step(x, x)
    assert interop.read_layer(trainer.context, scope).avg_weight == 0


# Momentum in the library's own sense, and epsilon, of a layer that is built without either.
DEFAULTS = {
    "pybn": (0.99, 1e-3),
    "gomlx": (0.99, 1e-3),
    "pytorch": (0.1, 1e-5),
    "keras": (0.99, 1e-3),
    "flax": (0.99, 1e-5),
    "haiku": ("required", 1e-5),
    "onnx": (0.9, 1e-5),
    "mlx": (0.1, 1e-5),
    "tinygrad": (0.1, 1e-5),
}


@pytest.mark.parametrize("library", list(LIBRARIES))
def test_the_defaults_of_each_library(library):
    assert (LIBRARIES[library].momentum, LIBRARIES[library].epsilon) == DEFAULTS[library]


@pytest.mark.parametrize(
    ("door", "library"),
    [
        (interop.from_pytorch, "pytorch"),
        (interop.from_keras, "keras"),
        (interop.from_flax, "flax"),
        (interop.from_nnx, "flax"),
        (interop.from_gomlx, "gomlx"),
        (interop.from_haiku, "haiku"),
        (interop.read_layer, "pybn"),
        (batch_norm, "pybn"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_a_door_has_the_defaults_of_its_library(door, library):
    """What a file does not say is taken for what the library builds a layer with."""
    row, parameters = LIBRARIES[library], inspect.signature(door).parameters
    assert parameters["epsilon"].default == row.epsilon
    if row.momentum == "required":
        assert parameters["decay_rate"].default is inspect.Parameter.empty
    else:
        assert parameters["momentum"].default == row.momentum


@pytest.mark.parametrize(
    "values",
    [np.ma.array([1.0, 2.0], mask=[False, True]), np.array([1, 2j]), np.array(["1", "2"]), np.array([True, False])],
    ids=lambda values: type(values).__name__ + str(values.dtype),
)
@pytest.mark.parametrize("name", ["mean", "variance", "scale", "offset"])
def test_a_state_of_no_numbers_is_refused(name, values):
    arrays = {"mean": np.zeros(2), "variance": np.ones(2), name: values}
    with pytest.raises(TypeError, match=f"{name} must be a plain array of numbers, got"):
        State(**arrays)


@pytest.mark.parametrize("weight", [None, "3", True], ids=repr)
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(TypeError, match="avg_weight must be a number of batches, got"):
        State(np.zeros(2), np.ones(2), avg_weight=weight)


EMA = {"average": np.zeros(2), "hidden": np.zeros(2)}


@pytest.mark.parametrize(
    "counter",
    [np.int64(-1), math.nan, math.inf, 2.5, True, "3", np.array([1, 2]), np.array([]), np.array([3], object)],
    ids=repr,
)
def test_a_counter_that_counts_nothing_is_refused(counter):
    arrays = {"running_mean": np.zeros(2), "running_var": np.ones(2), "num_batches_tracked": counter}
    with pytest.raises((TypeError, ValueError), match="num_batches_tracked must be"):
        interop.from_pytorch(arrays, count=8)
    for of_mean, of_variance in ((counter, 3), (3, counter)):
        emas = {**EMA, "counter": of_mean}, {"average": np.ones(2), "hidden": np.ones(2), "counter": of_variance}
        with pytest.raises((TypeError, ValueError), match="counter must be"):
            interop.from_haiku({}, *emas, decay_rate=0.9)


def test_haikus_two_averages_count_the_same_batches():
    variance = {"average": np.ones(2), "hidden": np.ones(2), "counter": 9}
    with pytest.raises(ValueError, match=r"the same batches, got the counters \[3.0, 9.0\]"):
        interop.from_haiku({}, {**EMA, "counter": 3}, variance, decay_rate=0.9)


def test_gomlxs_weight_may_be_a_fraction():
    arrays = interop.to_gomlx(State(np.zeros(2), np.ones(2), avg_weight=2.5))
    assert interop.from_gomlx(arrays).avg_weight == 2.5


@pytest.mark.parametrize("count", [-1, 0, 1, 2.5, math.nan, "8", True], ids=repr)
def test_a_count_that_no_sample_has_is_refused(count):
    with pytest.raises((TypeError, ValueError), match="count must be a"):
        State(np.zeros(2), np.ones(2), count=count)


@pytest.mark.parametrize("library", ["pytorch", "keras", "flax", "nnx", "onnx", "gomlx"])
@pytest.mark.parametrize("dtype", [np.int32, bool, "U4", object])
def test_no_state_is_cut_down_to_whole_numbers(library, dtype):
    half = State(np.full(2, 0.5), np.full(2, 0.25), avg_weight=3, count=8)
    with pytest.raises(TypeError, match="dtype must be a type of floats"):
        getattr(interop, f"to_{library}")(half, dtype=dtype)


@pytest.mark.parametrize("door", ["from_keras", "from_nnx", "from_onnx", "from_gomlx"])
def test_a_weight_of_true_is_refused(door):
    row = LIBRARIES[{"from_nnx": "flax"}.get(door, door.removeprefix("from_"))]
    arrays = {row.mean: np.zeros(2), row.variance: np.ones(2)}
    with pytest.raises(TypeError, match="avg_weight must be a number of batches, got True"):
        getattr(interop, door)(arrays, avg_weight=True)
