"""Fast keys in checkpoints, pickles, copies and exported programs."""

import contextlib
import copy
import pathlib
import pickle
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import nnx, serialization
from flax.training import checkpoints
from flax.training.train_state import TrainState
from jax import export, monitoring

import dropjax as dj
import dropjax.linen as djl
import dropjax.nnx as djn
from dropjax._registry import register

pytestmark = pytest.mark.filterwarnings("ignore:Sharding info not provided")

NAME = "dropjax_fast_v1"
X = jnp.ones((8, 16))
SAVED = {"orbax": "checkpoint", "pickle": "state.pickle"}


class KeyedState(TrainState):
    key: jax.Array


class Keyed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return djl.Dropout(0.5, deterministic=False)(nn.Dense(4)(x))


def linen_state(seed):
    key, model = jax.random.key(seed, impl=dj.fast_prng), Keyed()
    params = model.init(key, X)
    return KeyedState.create(
        apply_fn=None, params=params, tx=optax.adam(0.1), key=jax.random.fold_in(key, 1)
    )


def next_linen_masks(state):
    keys = jax.random.split(state.key)
    draw = lambda key: Keyed().apply(state.params, X, rngs={"dropout": key})  # noqa: E731
    return [np.asarray(draw(key)) for key in keys]


def nnx_model(seed):
    key = jax.random.key(seed, impl=dj.fast_prng)
    dropout = djn.Dropout(0.5, rngs=nnx.Rngs(dropout=key))
    return nnx.Sequential(nnx.Linear(16, 4, rngs=nnx.Rngs(seed)), dropout)


def next_nnx_masks(state):
    model = nnx_model(1)
    nnx.update(model, state)
    return [np.asarray(model(X)) for _ in range(2)]


def nnx_state(seed):
    model = nnx_model(seed)
    if seed == 0:
        model(X)  # A count of 1, where that of `like` is 0.
    return nnx.state(model)


FACES = {
    "linen": (linen_state, next_linen_masks),
    "nnx": (nnx_state, next_nnx_masks),
}


def save(way, folder, state):
    if way == "pickle":
        (folder / SAVED[way]).write_bytes(pickle.dumps(jax.tree.leaves(state)))
    else:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder / SAVED[way], state)


def restore(way, folder, like):
    """The state that was saved; `like`, made anew, tells its structure and shapes."""
    if way == "pickle":
        leaves = pickle.loads((folder / SAVED[way]).read_bytes())
        return jax.tree.unflatten(jax.tree.structure(like), leaves)
    target = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder / SAVED[way], target)


RESTORED_ELSEWHERE = """
import pathlib
import numpy as np
from tests.test_saving import FACES, SAVED, restore

for face, (make, next_masks) in FACES.items():
    for way in SAVED:
        folder = pathlib.Path({folder!r}) / face
        masks = next_masks(restore(way, folder, make(1)))
        np.save(folder / f"{{way}}.npy", np.stack(masks))
"""


def in_a_fresh_process(program):
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def test_a_fresh_process_draws_the_next_masks(tmp_path):
    expected = {}
    for face, (make, next_masks) in FACES.items():
        (tmp_path / face).mkdir()
        state = make(0)
        for way in SAVED:
            save(way, tmp_path / face, state)
        expected[face] = next_masks(state)
    in_a_fresh_process(RESTORED_ELSEWHERE.format(folder=str(tmp_path)))
    for face, masks in expected.items():
        assert not np.array_equal(*masks)
        for way in SAVED:
            found = np.load(tmp_path / face / f"{way}.npy")
            np.testing.assert_array_equal(found, masks)


def through_pickle(state, folder):
    if not isinstance(state, TrainState):
        return pickle.loads(pickle.dumps(state))
    leaves, structure = jax.tree.flatten(state)
    return structure.unflatten(pickle.loads(pickle.dumps(leaves)))


def is_key(leaf):
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def keys_of(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if is_key(leaf)]


def counts_of(tree):
    """The counts of streams, and of a `TrainState` those of steps."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if not is_key(leaf)]
    return sorted(int(leaf) for leaf in leaves if np.ndim(leaf) == 0)


def through_orbax(state, folder):
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder / "pytree", state)
        return checkpointer.restore(folder / "pytree")


def through_a_manager(state, folder):
    with ocp.CheckpointManager(folder) as manager:
        manager.save(1, args=ocp.args.StandardSave(state))
        manager.wait_until_finished()
        return manager.restore(1, args=ocp.args.StandardRestore())


def through_flax(state, folder):
    checkpoints.save_checkpoint(folder, state, 1)
    return checkpoints.restore_checkpoint(folder, state)


def through_a_state_dict(state, folder):
    plain = nnx.to_pure_dict(state) if isinstance(state, nnx.State) else state
    empty = jax.tree.map(jnp.zeros_like, plain)
    return serialization.from_state_dict(empty, serialization.to_state_dict(plain))


def through_numpy(state, folder):
    """The words of the keys; which generator they are of is left to the program."""
    leaves, structure = jax.tree.flatten(state)
    words = [jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves]
    np.savez(folder / "leaves.npz", *words)
    with np.load(folder / "leaves.npz") as saved:
        found = [saved[name] for name in saved.files]
    return structure.unflatten(
        jax.random.wrap_key_data(own, impl=jax.random.key_impl(leaf))
        if is_key(leaf)
        else own
        for own, leaf in zip(found, leaves, strict=True)
    )


def through_bytes_of_words(state, folder):
    """Flax's bytes hold the words of keys."""
    words = jax.tree.map(jax.random.key_data, keys_of(state))
    like = jax.tree.map(jnp.zeros_like, words)
    found = serialization.from_bytes(like, serialization.to_bytes(words))
    impls = map(jax.random.key_impl, keys_of(state))
    return [
        jax.random.wrap_key_data(own, impl=impl)
        for own, impl in zip(found, impls, strict=True)
    ]


def through_export(state, folder):
    """A program that takes and returns keys."""
    keys = keys_of(state)
    program = export.export(jax.jit(lambda keys: keys))(keys).serialize()
    return export.deserialize(program).call(keys)


WAYS = {
    "orbax": through_orbax,
    "manager": through_a_manager,
    "flax": through_flax,
    "state_dict": through_a_state_dict,
    "numpy": through_numpy,
    "bytes": through_bytes_of_words,
    "export": through_export,
    "pickle": through_pickle,
    "deepcopy": lambda state, folder: copy.deepcopy(state),
    "copy": lambda state, folder: copy.copy(state),
}


def bare(impl):
    key = jax.random.fold_in(jax.random.key(2013, impl=impl), 7)
    return {"key": key, "many": jax.random.split(key, (2, 3))}


def train_state(impl):
    key = bare(impl)["key"]
    params = {"kernel": jnp.ones((2, 3))}
    state = KeyedState.create(apply_fn=None, params=params, tx=optax.adam(0.1), key=key)
    return state.replace(step=7)


def rng_state(impl):
    """All that an NNX model holds, after its streams were used."""
    key = jax.random.key(2013, impl=impl)
    rngs = nnx.Rngs(params=0, dropout=key)
    dense = djn.DropConnectLinear(16, 4, 0.5, deterministic=False, rngs=rngs)
    model = nnx.Sequential(dense, djn.Dropout(0.5, deterministic=False, rngs=rngs))
    model(X)
    return nnx.state(model)


HOLDERS = {"keys": bare, "TrainState": train_state, "nnx.State": rng_state}
IMPLS = {"rbg": "rbg", "threefry": "threefry2x32", "fast": dj.fast_prng}
every_holder = pytest.mark.parametrize("holder", HOLDERS)
every_impl = pytest.mark.parametrize("impl", IMPLS)


@every_impl
@every_holder
@pytest.mark.parametrize("way", WAYS)
def test_keys_come_back_by_every_way_that_jaxs_own_do(way, holder, impl, tmp_path):
    state = HOLDERS[holder](IMPLS[impl])
    back = WAYS[way](state, tmp_path)
    found, expected = keys_of(back), keys_of(state)
    assert len(found) == len(expected) > 0
    if way not in ("bytes", "export"):  # These take keys alone.
        assert counts_of(back) == counts_of(state)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert jax.random.key_impl(one) == jax.random.key_impl(other)
        words = [np.asarray(jax.random.key_data(key)) for key in (one, other)]
        np.testing.assert_array_equal(*words)


REFUSED = {
    "to_bytes": lambda state, folder: serialization.to_bytes({"k": keys_of(state)}),
    "np.save": lambda state, folder: np.save(folder / "key.npy", keys_of(state)[0]),
    "np.savez": lambda state, folder: np.savez(folder / "key.npz", keys_of(state)[0]),
}


@every_impl
@every_holder
@pytest.mark.parametrize("way", REFUSED)
def test_what_holds_no_typed_key_says_so_when_it_is_saved(way, holder, impl, tmp_path):
    state = HOLDERS[holder](IMPLS[impl])
    with pytest.raises(TypeError, match=r"Use jax\.random\.key_data"):
        REFUSED[way](state, tmp_path)


def test_a_train_state_is_not_pickled():
    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(train_state(dj.fast_prng))


UNKNOWN = f"{NAME[:-1]}999"
IS_UNKNOWN = f'unrecognized PRNG implementation "{UNKNOWN}".*"{NAME}"'


def test_a_name_of_another_version_is_refused_by_name():
    words = jax.random.key_data(jax.random.key(0, impl=NAME))
    with pytest.raises(ValueError, match=IS_UNKNOWN):
        jax.random.key(0, impl=UNKNOWN)
    with pytest.raises(ValueError, match=IS_UNKNOWN):
        jax.random.wrap_key_data(words, impl=UNKNOWN)


@every_holder
@pytest.mark.parametrize("way", ["standard", "pytree"])
def test_a_checkpoint_of_another_version_says_which_it_needs(way, holder, tmp_path):
    state = HOLDERS[holder](dj.fast_prng)
    kinds = {"standard": ocp.StandardCheckpointer, "pytree": ocp.PyTreeCheckpointer}
    with kinds[way]() as checkpointer:
        checkpointer.save(tmp_path / "saved", state)
    renamed = 0
    for file in filter(pathlib.Path.is_file, (tmp_path / "saved").rglob("*")):
        content = file.read_bytes()
        renamed += content.count(NAME.encode())
        file.write_bytes(content.replace(NAME.encode(), UNKNOWN.encode()))
    assert renamed
    with kinds[way]() as checkpointer, pytest.raises(ValueError, match=IS_UNKNOWN):
        checkpointer.restore(tmp_path / "saved")


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_a_copy_of_the_generator_is_the_generator(copied):
    for same in (copied(dj.fast_prng), pickle.loads(pickle.dumps(dj.fast_prng))):
        assert same == dj.fast_prng
        assert hash(same) == hash(dj.fast_prng)
        assert jax.random.key(0, impl=same).dtype == jax.random.key(0, impl=NAME).dtype


def test_the_generator_has_one_name():
    key = jax.random.key(5, impl=NAME)
    assert key.dtype == jax.random.key(5, impl=dj.fast_prng).dtype
    assert str(jax.random.key_impl(key)) == str(dj.fast_prng) == NAME
    assert key.dtype.name == f"key<{NAME}>"


def test_the_name_may_be_the_default():
    expected = jax.random.key(5, impl=NAME)
    with jax.default_prng_impl(NAME):
        key, raw = jax.random.key(5), jax.random.PRNGKey(5)
        assert key.dtype == expected.dtype
        mask = dj.dropout_mask(expected, (64,), 0.5)
        np.testing.assert_array_equal(dj.dropout_mask(key, (64,), 0.5), mask)
        np.testing.assert_array_equal(dj.dropout_mask(raw, (64,), 0.5), mask)


def test_exported_programs_take_keys():
    key = jax.random.key(5, impl=dj.fast_prng)
    drop = jax.jit(lambda key, x: dj.dropout(key, x, 0.5))
    serialized = export.export(drop)(key, X).serialize()
    restored = export.deserialize(serialized)
    np.testing.assert_array_equal(restored.call(key, X), drop(key, X))
    with pytest.raises(ValueError, match="key<"):
        restored.call(jax.random.key(5, impl="rbg"), X)


def test_exported_keys_have_a_number_of_their_own():
    """JAX numbers the types of exported programs from 0 up; ours must stay ours."""
    from jax._src.export import serialization, serialization_generated

    kinds = vars(serialization_generated.DType).values()
    assert all(kind >= 0 for kind in kinds if isinstance(kind, int))
    own = jax.random.key(0, impl=dj.fast_prng).dtype
    number = serialization._dtype_to_dtype_kind[own]
    others = [
        k for dtype, k in serialization._dtype_to_dtype_kind.items() if dtype != own
    ]
    assert -128 <= number < 0
    assert number not in others


WITHOUT_A_REGISTRY = """
import copy
import pathlib
import pickle
import sys
import jax
import jax.extend.random
import jax.numpy as jnp

registry = jax._src.random.prng
del jax._src.random.prng, jax.config.meta["jax_default_prng_impl"]
sys.modules["jax._src.random.prng"] = None
import dropjax as dj
sys.modules["jax._src.random.prng"] = jax._src.random.prng = registry

key, x = jax.random.key(0, impl=dj.fast_prng), jnp.ones((8, 16))
for same in (copy.deepcopy(key), pickle.loads(pickle.dumps(key))):
    assert (dj.dropout(same, x, 0.5) == dj.dropout(key, x, 0.5)).all()
data = jax.random.key_data(key)
restored = jax.random.wrap_key_data(data, impl=dj.fast_prng)
w = jnp.ones((16, 4))
found, expected = (
    dj.dropconnect_dense(own, x, w, 0.5, mask_per="example") for own in (restored, key)
)
assert (found == expected).all()
try:
    jax.random.key(0, impl="dropjax_fast_v1")
except ValueError as error:
    assert "unrecognized PRNG implementation" in str(error)
else:
    raise AssertionError("the registry is there")
"""


def test_a_jax_without_a_registry_has_all_but_the_name():
    in_a_fresh_process(WITHOUT_A_REGISTRY)


def test_a_name_can_be_registered_again():
    """As happens when a module is reloaded."""
    before = list(jax.config.meta["jax_default_prng_impl"][-1]["enum_values"])
    register(dj.fast_prng)
    assert jax.config.meta["jax_default_prng_impl"][-1]["enum_values"] == before
    assert (
        jax.random.key(0, impl=NAME).dtype == jax.random.key(0, impl=dj.fast_prng).dtype
    )


EAGER = {
    "seed": lambda key: jax.random.key(7, impl=dj.fast_prng),
    "bits": lambda key: jax.random.bits(key, (33, 5)),
    "split": lambda key: jax.random.split(key, 3),
    "fold_in": lambda key: jax.random.fold_in(key, 3),
    "bits of many": lambda key: jax.vmap(jax.random.bits)(jax.random.split(key, 3)),
}


@contextlib.contextmanager
def compilations():
    found = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize("draw", EAGER)
def test_eager_calls_compile_once(draw):
    key = jax.random.key(1, impl=dj.fast_prng)
    with compilations() as found:
        EAGER[draw](key)
        jax.block_until_ready(EAGER[draw](key))
        found.clear()
        EAGER[draw](key)
    assert not found
