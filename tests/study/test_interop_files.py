"""Files as they are: names, prefixes, groups, types and shapes of other libraries, and what their openers give."""

import math

import numpy as np
import pytest

from pybn.study import interop
from pybn.study.interop import State

C = 3
VALUES = {
    "scale": np.array([0.5, -1.0, 2.0], np.float32),
    "offset": np.array([0.25, 3.0, -1.0], np.float32),
    "mean": np.array([1.0, -2.0, 0.5], np.float32),
    "variance": np.array([4.0, 0.25, 1.0], np.float32),
}
TORCH = dict(zip(("weight", "bias", "running_mean", "running_var"), VALUES.values(), strict=True))
KERAS = dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), VALUES.values(), strict=True))
FLAX = dict(zip(("scale", "bias", "mean", "var"), VALUES.values(), strict=True))
FLAX_PARAMS = {name: FLAX[name] for name in ("scale", "bias")}
FLAX_STATS = {name: FLAX[name] for name in ("mean", "var")}
ONNX = dict(zip(("scale", "B", "input_mean", "input_var"), VALUES.values(), strict=True))
GOMLX = {**VALUES, "avg_weight": np.full(C, 40.0, np.float32)}


def from_pytorch(arrays, **options):
    return interop.from_pytorch(arrays, count=math.inf, **options)


def from_flax(arrays, **options):
    parts = (("scale", "bias"), ("mean", "var"))
    split = [{name: a for name, a in arrays.items() if name.split("/")[-1] in part} for part in parts]
    return interop.from_flax(*split, **options)


READERS = {
    "pytorch": (from_pytorch, TORCH),
    "keras": (interop.from_keras, KERAS),
    "flax": (from_flax, FLAX),
    "nnx": (interop.from_nnx, FLAX),
    "onnx": (interop.from_onnx, ONNX),
    "gomlx": (interop.from_gomlx, GOMLX),
}
every_reader = pytest.mark.parametrize(("read", "arrays"), READERS.values(), ids=READERS)


def assert_read(state, values=VALUES):
    for name, expected in values.items():
        np.testing.assert_array_equal(getattr(state, name), expected)
    assert state.mean.dtype == state.variance.dtype == np.float64


def other(arrays):
    """Another layer's arrays, never to be taken for the wanted one's."""
    return {name: values + 100 for name, values in arrays.items()}


# --- names -----------------------------------------------------------------------------------


@every_reader
@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("given", ["bn_1", "bn_1{}", "model{}bn_1", "model"])
def test_a_prefix_with_or_without_its_separator(read, arrays, separator, given):
    if separator == "." and read is from_flax:
        pytest.skip("Flax's names are dicts of dicts")
    prefix, stem = given.format(separator), "bn_1" if given.startswith("bn") else f"model{separator}bn_1"
    stored = {f"{stem}{separator}{name}": a for name, a in arrays.items()}
    stored |= {f"bn_10{separator}{name}": a for name, a in other(arrays).items()}
    assert_read(read(stored, prefix=prefix))


@every_reader
def test_a_wrong_prefix_names_what_is_there(read, arrays):
    stored = {f"{stem}/{name}": a for stem in ("bn_1", "bn_2") for name, a in arrays.items()}
    with pytest.raises(ValueError, match=r"got 'bn_3': .*there is \['bn_1/', 'bn_2/'\]"):
        read(stored, prefix="bn_3")
    with pytest.raises(ValueError, match=r"prefix must name one .*got '': \['bn_1/', 'bn_2/'\]"):
        read(stored)


@every_reader
def test_one_layer_among_others_is_found_without_a_prefix(read, arrays):
    dense = {"dense/kernel": np.ones((4, C)), "dense/bias": np.ones(C)} if read is not from_flax else {}
    assert_read(read({f"bn/{name}": a for name, a in arrays.items()} | dense))
    if read is not from_flax:
        assert_read(read({"bn": arrays, "dense": {"kernel": np.ones((4, C))}}))


def test_flax_takes_a_whole_models_collections():
    params = {"Dense_0": {"kernel": np.ones((4, C)), "bias": np.ones(C)}, "block": {"BatchNorm_0": FLAX_PARAMS}}
    stats = {"block": {"BatchNorm_0": FLAX_STATS}}
    assert_read(interop.from_flax(params, stats))
    assert_read(interop.from_flax(params, stats | {"BatchNorm_0": other(FLAX_STATS)}, prefix="block"))
    assert interop.from_flax({"Dense_0": params["Dense_0"]}, stats).scale is None


@every_reader
def test_names_of_keras_2_and_tensorflow(read, arrays):
    assert_read(read({f"{name}:0": a for name, a in arrays.items()}) if read is not from_flax else from_flax(arrays))
    if read is interop.from_keras:
        assert_read(read({f"bn_1/{name}:0": a for name, a in arrays.items()}))
        assert_read(read({f"bn_1/{name}:0": a for name, a in arrays.items()}, prefix="bn_1"))


def test_many_layers_are_named_by_the_first_eight():
    stored = {f"bn_{i:02}.{name}": a for i in range(20) for name, a in TORCH.items()}
    with pytest.raises(ValueError, match=r"'bn_07\.'\] and 12 more"):
        from_pytorch(stored, prefix="norm")


def test_a_name_that_would_be_ignored_is_an_error_within_the_prefix_alone():
    stored = {f"bn.{name}": a for name, a in TORCH.items()} | {"fc.gamma": np.ones(C)}
    assert_read(from_pytorch(stored, prefix="bn"))
    with pytest.raises(ValueError, match=r"unknown \['gamma'\]"):
        from_pytorch(stored | {"bn.gamma": np.ones(C)}, prefix="bn")


def test_haiku_takes_a_whole_nets_dicts():
    params = {"linear": {"w": np.ones((4, C))}, "net/batch_norm": {n: VALUES[n] for n in ("scale", "offset")}}
    state = {
        f"net/batch_norm/~/{name}_ema": {"average": VALUES[of], "counter": np.int32(900), "hidden": VALUES[of]}
        for name, of in (("mean", "mean"), ("var", "variance"))
    }
    assert_read(interop.from_haiku(params, state, state, decay_rate=0.9, prefix="net/batch_norm"))
    with pytest.raises(ValueError, match=r"got 'bn/~/mean_ema': .*there is \['net/batch_norm/~/mean_ema/'"):
        interop.from_haiku(params, state, state, decay_rate=0.9, prefix="bn")


@pytest.mark.parametrize("arrays", ["model.h5", [np.ones(3)], np.ones(3), None])
def test_what_is_no_file_says_how_to_open_one(arrays):
    with pytest.raises(TypeError, match=r"open file of h5py or safetensors \(h5py.File\(path\)"):
        interop.from_keras(arrays)


# --- types and shapes ------------------------------------------------------------------------


@every_reader
@pytest.mark.parametrize("shape", [(1, C, 1, 1), (1, 1, 1, C), (C, 1), (1, C)])
def test_axes_of_one_are_dropped(read, arrays, shape):
    if read is interop.from_gomlx:
        arrays = {name: a for name, a in arrays.items() if name != "avg_weight"}
    state = read({name: a.reshape(shape) for name, a in arrays.items()})
    assert_read(state)
    assert state.mean.shape == (C,)


@every_reader
def test_two_axes_are_refused_by_the_librarys_name(read, arrays):
    name = next(iter(arrays))
    with pytest.raises(ValueError, match=rf"{name} must have one axis larger than 1, .* got shape \(3, 2\)"):
        read(arrays | {name: np.ones((3, 2), np.float32)})


@every_reader
def test_one_feature(read, arrays):
    state = read({name: a[:1].reshape(1, 1, 1, 1) for name, a in arrays.items()})
    assert_read(state, {name: a[:1] for name, a in VALUES.items()})


@every_reader
def test_bfloat16(read, arrays):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    state = read({name: a.astype(ml_dtypes.bfloat16) for name, a in arrays.items()})
    assert_read(state)  # these values are bfloat16's too
    assert state.scale.dtype == np.float32


@every_reader
@pytest.mark.parametrize("dtype", [">f4", "<f8", "f2"])
def test_other_floats(read, arrays, dtype):
    assert_read(read({name: a.astype(dtype) for name, a in arrays.items()}))


@pytest.mark.parametrize("number", [np.array, np.float32, lambda value: np.array(value, ">f8")])
def test_numbers_as_files_keep_them(number):
    options = {"momentum": number(0.25), "epsilon": number(0.5), "avg_weight": number(8)}
    state = interop.from_pytorch(TORCH, count=number(16), **options)
    assert (state.momentum, state.epsilon, state.avg_weight, state.count) == (0.75, 0.5, 8, 16)
    assert all(type(value) in (int, float) for value in (state.momentum, state.epsilon, state.count))
    for name in ("keras", "gomlx", "onnx"):
        read, arrays = READERS[name]
        assert read(arrays, momentum=number(0.75)).momentum == 0.75
    assert interop.rules["pytorch"](momentum=number(0.25)).momentum == 0.25
    assert interop.sample_variance(1.0, number(2)) == 2.0


@pytest.mark.parametrize("momentum", [np.array([0.1]), "0.1", np.array(True)])
def test_what_is_no_number_is_refused(momentum):
    with pytest.raises(TypeError, match="momentum must be a number"):
        interop.from_pytorch(TORCH, count=8, momentum=momentum)


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match="running_mean must be a plain array"):
        from_pytorch(TORCH | {"running_mean": np.ma.masked_array(np.zeros(C), [0, 0, 1])})


# --- half-checked data -----------------------------------------------------------------------

BAD = [math.nan, math.inf, -math.inf]


@every_reader
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("value", BAD)
def test_each_array_is_checked_alike(read, arrays, place, value):
    name, role = list(arrays)[place], list(VALUES)[place]
    spoilt = arrays[name].copy()
    spoilt[1] = value
    label = name if name == role else f"{name}: {role}"
    rule = "not be negative or NaN" if role == "variance" and value != math.inf else "be finite"
    with pytest.raises(ValueError, match=f"^{label} must {rule}, got {value:g} in feature 1$"):
        read(arrays | {name: spoilt})


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("value", BAD)
def test_a_state_is_checked_however_it_is_made(name, value):
    with pytest.raises(ValueError, match=f"^{name} must .*got {value:g} in feature 0, {value:g} in feature 2$"):
        State(**VALUES | {name: np.array([value, 1, value])})


def test_more_features_than_can_be_read_are_counted():
    with pytest.raises(ValueError, match=r"nan in feature 3 and 96 more$"):
        State(np.full(100, math.nan), np.ones(100))
    with pytest.raises(ValueError, match=r"nan in feature \(1, 0\)$"):
        State(np.array([[0, 0], [math.nan, 0]]), np.ones((2, 2)))


@pytest.mark.parametrize("weight", [math.nan, math.inf, -1.0])
def test_the_weight_is_checked(weight):
    with pytest.raises(ValueError, match="avg_weight must be"):
        State(**VALUES, avg_weight=weight)
    with pytest.raises(ValueError, match="avg_weight must be"):
        interop.from_gomlx(GOMLX | {"avg_weight": np.full(C, weight)})


@pytest.mark.parametrize(("library", "name"), [("pytorch", "running_var"), ("keras", "moving_variance")])
def test_a_number_too_large_for_the_type_is_refused(library, name):
    state = State(np.zeros(1), np.array([1e300]), count=math.inf)
    with pytest.raises(ValueError, match=rf"{name} must fit float32, whose largest number is 3.4e\+38, got 1e\+300"):
        getattr(interop, f"to_{library}")(state)
    assert getattr(interop, f"to_{library}")(state, dtype=np.float64)[name] == 1e300


def test_a_later_change_of_the_callers_array_does_not_reach_the_state():
    mean = np.zeros(C)
    state = State(mean, np.ones(C))
    mean[0] = math.nan
    assert state.mean[0] == 0


# --- what other packages' openers give -------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch_tensors(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    tensors = {name: torch.tensor(a).to(getattr(torch, dtype)) for name, a in TORCH.items()}
    tensors["num_batches_tracked"] = torch.tensor(50)
    tensors["weight"].requires_grad_()
    state = from_pytorch(tensors, momentum=torch.tensor(0.5))
    assert_read(state)
    assert (state.avg_weight, state.momentum) == (50, 0.5)


@pytest.mark.parametrize("opened", [lambda file: file, lambda file: file["model_weights"]], ids=["file", "group"])
def test_hdf5_of_keras_2(tmp_path, opened):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "model.h5", "w") as file:
        for layer, arrays in (("bn_1", KERAS), ("bn_10", other(KERAS))):
            for name, values in arrays.items():
                file[f"model_weights/{layer}/{layer}/{name}:0"] = values
        file["model_weights/fc/fc/kernel:0"] = np.ones((2, C))
        file.attrs["epsilon"] = 0.5
    with h5py.File(tmp_path / "model.h5") as file:
        group = opened(file)
        path = "model_weights/bn_1" if group is file else "bn_1"
        assert_read(interop.from_keras(group, prefix=path, epsilon=file.attrs["epsilon"]))
        assert_read(interop.from_keras(file["model_weights/bn_1"]))
        with pytest.raises(ValueError, match=r"got 'bn_2': .*bn_1/bn_1/', .*bn_10/bn_10/'"):
            interop.from_keras(group, prefix="bn_2")


@pytest.mark.filterwarnings("ignore")  # Keras warns of its own older format, and of NumPy's
@pytest.mark.parametrize("ending", ["weights.h5", "h5"])
def test_files_that_keras_writes(tmp_path, ending):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    norms = [keras.layers.BatchNormalization(name=name) for name in ("bn_1", "bn_2")]
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(C), *norms])
    for layer, arrays in zip(norms, (KERAS, other(KERAS)), strict=True):
        layer.set_weights(list(arrays.values()))
    path, prefix = tmp_path / f"model.{ending}", "model_weights/bn_1"
    if ending == "h5":
        model.save(path)
    else:
        model.save_weights(path)
        prefix = "layers/batch_normalization"
    with h5py.File(path) as file:
        assert_read(interop.from_keras(file, prefix=prefix))
    assert_read(
        interop.from_keras(
            {w.path: w for w in model.weights}, prefix="sequential/bn_1".replace("sequential", model.name)
        )
    )


def test_numbered_arrays_are_told_apart_only_where_there_are_four():
    numbered = {f"layers/bn/vars/{i}": a for i, a in enumerate(KERAS.values())}
    assert_read(interop.from_keras(numbered))
    del numbered["layers/bn/vars/3"]
    with pytest.raises(ValueError, match=r"missing \['moving_mean', 'moving_variance'\], unknown \['layers/bn/vars/0'"):
        interop.from_keras(numbered)
    layer_norm = {"layers/ln/vars/0": np.ones(C), "layers/ln/vars/1": np.zeros(C)}
    with pytest.raises(ValueError, match="missing"):
        interop.from_keras(layer_norm)


def test_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed")
    from safetensors.numpy import load_file, save_file

    stored = {f"bn1.{name}": a for name, a in TORCH.items()} | {f"bn2.{n}": a for n, a in other(TORCH).items()}
    stored["bn1.num_batches_tracked"] = np.array(50, np.int64)
    save_file(stored, tmp_path / "m.safetensors")
    assert_read(from_pytorch(load_file(tmp_path / "m.safetensors"), prefix="bn1"))
    with safetensors.safe_open(tmp_path / "m.safetensors", framework="np") as file:
        state = from_pytorch(file, prefix="bn1.")
        assert_read(state)
        assert state.avg_weight == 50
        with pytest.raises(ValueError, match=r"there is \['bn1\.', 'bn2\.'\]"):
            from_pytorch(file, prefix="bn3.")


def onnx_model(onnx, dtype=np.float32, constants=(), names=("first", "second"), **attributes):
    """Two BatchNormalizations whose arrays are initializers, Constants where named so, and shared by an Identity."""
    helper, to_tensor = onnx.helper, onnx.numpy_helper.from_array
    nodes, initializers = [], []
    for at, (name, arrays) in enumerate(zip(names, (ONNX, other(ONNX)), strict=True)):
        inputs = []
        for own, values in arrays.items():
            tensor = to_tensor(values.astype(dtype), f"bn{at + 1}.{own}")
            if own in constants:
                nodes.append(helper.make_node("Constant", [], [tensor.name], value=tensor))
            else:
                initializers.append(tensor)
            inputs.append(tensor.name)
        nodes.append(helper.make_node("Identity", [inputs[0]], [f"shared{at}"]))
        nodes.append(
            helper.make_node(
                "BatchNormalization", [f"x{at}", f"shared{at}", *inputs[1:]], [f"x{at + 1}"], name=name, **attributes
            )
        )
    return helper.make_model(helper.make_graph(nodes, "two", [], [], initializers))


@pytest.mark.parametrize("constants", [(), ("input_mean", "B")])
def test_onnx_models(tmp_path, constants):
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    onnx.save(onnx_model(onnx, constants=constants, momentum=0.75, epsilon=0.5), tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    state = interop.from_onnx(model, prefix="first")
    assert_read(state)
    assert (state.momentum, state.epsilon) == (0.75, 0.5)
    assert interop.from_onnx(model.graph, prefix="first", epsilon=0.25).epsilon == 0.25
    assert_read(interop.from_onnx(model, prefix="second"), {name: a + 100 for name, a in VALUES.items()})
    for wrong in ("third", ""):
        with pytest.raises(ValueError, match=rf"got '{wrong}': there is \['first', 'second'\]"):
            interop.from_onnx(model, prefix=wrong)
    tensors = {"bn." + tensor.name.split(".")[1]: tensor for tensor in model.graph.initializer if "bn1" in tensor.name}
    if not constants:
        assert_read(interop.from_onnx(tensors, prefix="bn"))


def test_onnx_models_without_names_and_attributes():
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    state = interop.from_onnx(onnx_model(onnx, names=("", "")), prefix="shared0")
    assert_read(state)
    assert (state.momentum, state.epsilon) == (0.9, 1e-5)


def test_onnx_arrays_that_the_graph_computes_are_refused():
    onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
    model = onnx_model(onnx)
    del model.graph.initializer[2]
    with pytest.raises(ValueError, match=r"'bn1.input_mean' must be an initializer or a constant of the graph"):
        interop.from_onnx(model, prefix="first")
