"""Gradient transformations, in the form of optax, that drop elements of the updates.

The position in the chain determines what is dropped. Before the optimizer, gradients
are dropped, and the optimizer sees zeros. After it, whole steps are dropped, while
momentum continues to accumulate:

    optax.chain(gradient_dropout(key, 0.3), optax.adam(1e-3))
    optax.chain(optax.adam(1e-3), gradient_dropout(key, 0.3, scaling="standard"))
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int

from dropjax._apply import apply_mask, working_dtype
from dropjax._checks import (
    check_host_rate,
    check_information,
    check_key,
    check_rate,
    check_same_paths,
    check_scaling,
    missing_package_error,
    path_name,
)
from dropjax._types import KeyLike, PyTree, RateLike, Scaling, Tree
from dropjax.transforms import Where, dropconnect
from dropjax.transforms._paths import named

try:
    import optax
except ModuleNotFoundError as error:
    raise missing_package_error(error, "optax", "dropjax.optimizers") from None

__all__ = [
    "GradientDropoutState",
    "child_mask",
    "fisher_information",
    "gradient_dropout",
    "mask_updates",
]

Schedule: TypeAlias = Callable[[Any], Any]


class GradientDropoutState(NamedTuple):
    """The state of `gradient_dropout`.

    Attributes:
      key: the key, in the form in which it was given.
      step: the number of updates made so far.
    """

    key: KeyLike
    step: Int[Array, ""]


def gradient_dropout(
    key: KeyLike,
    rate: RateLike | Schedule,
    *,
    where: Where | None = None,
    scaling: Scaling = "inverted",
) -> optax.GradientTransformation:
    r"""Drops elements of the updates, with a new mask at every step.

    $$g'_t = \frac{m_t}{1 - rate} g_t, \qquad m_{t,i} \sim \text{Bernoulli}(1 - rate)$$

    Before the optimizer, this is DropGrad, and the task-free form of child tuning,
    Child-Tuning-F, whose $p_F$ is `1 - rate`. After it, with `scaling="standard"`,
    which does not divide, it is learning rate dropout. Weight decay that comes later in
    the chain, as in `optax.adamw`, is not masked.

    Step t uses the key `jax.random.fold_in(key, t)`, from which a key for each leaf is
    derived by its path: adding a parameter changes no other mask. The masks are those
    of `dropjax.dropconnect_mask` for that key and `where`.

    Args:
      key: a typed or raw PRNG key. It is stored in the state unchanged: pass a raw key,
        `jax.random.key_data(key)`, if your checkpoints cannot hold typed keys.
      rate: the probability of dropping, in [0, 1]; or a schedule that maps the number
        of updates made so far to such a rate, as in optax and `dropjax.schedules`.
      where: a function of the path of a leaf, such as "layer/kernel", and the leaf,
        which returns True for the leaves to mask. None masks every floating-point and
        complex leaf.
      scaling: "inverted", or "standard", which does not scale.

    Returns:
      An `optax.GradientTransformation`.

    Raises:
      ValueError: the rate is outside [0, 1], the scaling is unknown, or the key is
        missing. On update: `where` selects no leaf.
      TypeError: an argument has the wrong type.

    Example:
      >>> import optax
      >>> from dropjax.optimizers import gradient_dropout
      >>> transform = gradient_dropout(jax.random.key(0), 0.5)
      >>> gradients = {"kernel": jnp.ones((9, 9))}
      >>> updates, state = transform.update(gradients, transform.init(gradients))
      >>> assert set(np.unique(updates["kernel"])) == {0.0, 2.0}
      >>> assert state.step == 1

    References:
      Xu, Luo, Zhang, Tan, Chang, Huang and Huang, 2021, "Raise a child in large
      language model: towards effective and generalizable fine-tuning", EMNLP.
      Tseng, Chen, Tsai, Liu, Lin and Yang, 2020, "Regularizing meta-learning via
      gradient dropout", ACCV.
      Lin, Zeng, Ding, Huang, Huang and Paisley, 2019, "Learning rate dropout",
      arXiv:1912.00144.
    """
    check_key(key)
    check_scaling(scaling)
    if not callable(rate):
        check_rate(rate)

    def init(params: PyTree) -> GradientDropoutState:
        # Copied, because donating a state also donates its buffers.
        return GradientDropoutState(jnp.array(key), jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: GradientDropoutState, params: PyTree | None = None
    ) -> tuple[PyTree, GradientDropoutState]:
        if not jax.tree.leaves(updates):
            return updates, GradientDropoutState(state.key, state.step + 1)
        now = rate(state.step) if callable(rate) else rate
        own = jax.random.fold_in(check_key(state.key), state.step)
        chosen = _is_inexact if where is None else where
        masked = dropconnect(own, updates, now, where=chosen, scaling=scaling)
        return masked, GradientDropoutState(state.key, state.step + 1)

    return optax.GradientTransformation(init, update)


def mask_updates(mask: PyTree) -> optax.GradientTransformation:
    r"""Keeps the updates where a fixed mask is True, and sets the others to zero.

    $$g'_t = m \, g_t$$

    With the mask of `child_mask` this is the task-driven form of child tuning,
    Child-Tuning-D. The transformation selects instead of multiplying: NaN and Inf in
    dropped elements vanish. Put it after `optax.adamw` as well if weight decay must not
    change the masked weights.

    Args:
      mask: a tree with boolean arrays under the same paths as the updates and of the
        same shapes, True where a weight is trained. Its containers may differ, as in an
        `nnx.State`, whose variables `nnx.Optimizer` unboxes.

    Returns:
      An `optax.GradientTransformation` without state. If `optax.masked` or
      `optax.partition` excludes a part of the updates, that part of the mask is not
      used.

    Raises:
      ValueError: on update: one of the trees has a leaf that the other does not have,
        or a mask does not broadcast to its leaf.
      TypeError: on update: a mask is not boolean.

    Example:
      >>> import optax
      >>> from dropjax.optimizers import mask_updates
      >>> transform = mask_updates({"w": jnp.array([True, False])})
      >>> gradients = {"w": jnp.array([1.0, jnp.nan])}
      >>> updates, _ = transform.update(gradients, transform.init(gradients))
      >>> assert updates["w"].tolist() == [1.0, 0.0]

    References:
      Xu, Luo, Zhang, Tan, Chang, Huang and Huang, 2021, "Raise a child in large
      language model: towards effective and generalizable fine-tuning", EMNLP.
    """
    kept = dict(named(mask))

    def update(updates: PyTree, params: PyTree | None = None) -> PyTree:
        located = named(updates)
        absent = _masked_out(updates)
        present = [path for path in kept if not f"{path}/".startswith(absent)]
        check_same_paths(present, dict(located))
        masked = [apply_mask(update, kept[path]) for path, update in located]
        return jax.tree.unflatten(jax.tree.structure(updates), masked)

    return optax.stateless(update)


def child_mask(information: PyTree, rate: float) -> PyTree:
    r"""The child network: the weights with the most information in the whole tree.

    $$m_i = [F_i \text{ is among the round}((1 - rate) n) \text{ largest}]$$

    Args:
      information: a tree of real arrays without NaN, such as from `fisher_information`.
      rate: the share of the n weights to drop, in [0, 1]. The paper's $p_D$ is
        `1 - rate`.

    Returns:
      A tree of boolean arrays with the same structure, True for the child network. Of
      equal values at the border the first ones are included, so that the share is
      always exact.

    Raises:
      ValueError: the rate is outside [0, 1], or the tree is empty.
      TypeError: the rate is not a Python number, or a leaf is not a real floating-point
        array.

    Example:
      >>> from dropjax.optimizers import child_mask
      >>> mask = child_mask({"a": jnp.array([3.0, 1.0]), "b": jnp.array([2.0])}, 0.5)
      >>> assert mask["a"].tolist() == [True, False]
      >>> assert mask["b"].tolist() == [True]

    References:
      Xu, Luo, Zhang, Tan, Chang, Huang and Huang, 2021, "Raise a child in large
      language model: towards effective and generalizable fine-tuning", EMNLP.
    """
    leaves, structure = jax.tree.flatten(information)
    check_information(leaves)
    wide = functools.reduce(np.promote_types, map(working_dtype, leaves))
    flat = jnp.concatenate([jnp.ravel(leaf).astype(wide) for leaf in leaves])
    rate = check_host_rate(rate, "how many weights are dropped")
    kept = round((1 - rate) * flat.size)
    order = jnp.argsort(-flat, stable=True)
    chosen = jnp.zeros(flat.shape, bool).at[order[:kept]].set(True)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = jnp.split(chosen, ends)
    shaped = [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)


def fisher_information(
    log_likelihood: Callable[[Tree, Any], Any], params: Tree, examples: PyTree
) -> Tree:
    r"""The diagonal of the empirical Fisher information of the parameters.

    $$F(w) = \frac{1}{|D|} \sum_{(x, y) \in D}
      \left(\frac{\partial \log p(y | x; w)}{\partial w}\right)^2$$

    The gradients are computed for single examples, one after the other. The square of
    the mean gradient of a batch, which some implementations use, is a different
    quantity.

    Args:
      log_likelihood: a function `(params, example) -> scalar` that returns the
        log-probability of the label of one example. The loss of one example works as
        well.
      params: the parameters, a tree of floating-point or complex arrays. For complex
        gradients, the squared magnitude is used.
      examples: a tree of arrays whose first axis indexes the examples, one or more.

    Returns:
      A tree of nonnegative arrays with the structure of `params`, in float32 or better.

    Raises:
      TypeError: from JAX: the log-likelihood is not a real scalar, or a parameter is
        not floating-point or complex.

    Example:
      >>> from dropjax.optimizers import fisher_information
      >>> loss = lambda w, x: w * x
      >>> information = fisher_information(loss, jnp.float32(3), jnp.array([1.0, 2.0]))
      >>> assert information == 2.5

    References:
      Xu, Luo, Zhang, Tan, Chang, Huang and Huang, 2021, "Raise a child in large
      language model: towards effective and generalizable fine-tuning", EMNLP.
    """
    slope = jax.grad(log_likelihood)

    def add(total: PyTree, example: Any) -> tuple[PyTree, None]:
        gradients = slope(params, example)
        return jax.tree.map(_add_square, total, gradients), None

    start = jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf, working_dtype(jnp.asarray(leaf))), params
    )
    total, _ = lax.scan(add, start, examples)
    count = len(jax.tree.leaves(examples)[0])
    return jax.tree.map(lambda leaf: leaf / count, total)


def _add_square(total: Array, gradient: Array) -> Array:
    parts = (
        (gradient.real, gradient.imag) if jnp.iscomplexobj(gradient) else (gradient,)
    )
    return total + sum(jnp.square(part.astype(total.dtype)) for part in parts)


def _masked_out(updates: PyTree) -> tuple[str, ...]:
    """The paths of the parts that `optax.masked` and `optax.partition` exclude."""

    def is_absent(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    found = jax.tree_util.tree_leaves_with_path(updates, is_leaf=is_absent)
    paths = [path_name(path) for path, node in found if is_absent(node)]
    # If the whole tree is excluded, the empty prefix matches every path.
    return tuple(f"{path}/" if path else "" for path in paths)


def _is_inexact(path: str, leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
