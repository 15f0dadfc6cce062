"""What a layer is made with: all that can be known without the array of a call.

Each option has the check of the functions, so that a layer says the same when it is
made as it would when it is called.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dropjax._checks._arrays import (
    check_fill_kind,
    check_id,
    check_ids,
    check_shape,
    check_span_fill_kind,
)
from dropjax._checks._axes import (
    check_axes,
    check_axis,
    check_batch,
    check_channel_and_batch,
    check_noise_sizes,
    check_one_sharing,
    check_sizes,
    check_weight_block,
    check_window,
)
from dropjax._checks._inputs import check_fill_tree, check_some_kept
from dropjax._checks._mlp import check_unit_blocks, check_unit_rate
from dropjax._checks._options import (
    check_all_features,
    check_choice,
    check_count,
    check_deterministic,
    check_features,
    check_flag,
    check_function,
    check_inference,
    check_inner_rate,
    check_mask_per,
    check_noise,
    check_path_scaling,
    check_positive,
    check_range,
    check_share,
    check_where,
)
from dropjax._checks._products import (
    check_batch_sizes,
    check_einsum_str,
    check_padding,
)
from dropjax._checks._rates import (
    check_host_rate,
    check_noise_rate,
    check_noise_size,
    check_rate,
    check_rates,
)
from dropjax._checks._subsets import check_subset_axis, check_subset_rate

# Of an option's value and of the layer, for what the option is to go with.
Check: TypeAlias = Callable[[Any, Any], object]


def check_made(layer: Any, own: Mapping[str, Check]) -> None:
    """The options of a layer; its own checks come before those of all layers."""
    kind: Any = type(layer)
    options = _options_of(kind)
    for name, value in vars(layer).items():
        if name in options:
            check_option(layer, name, value, own)


def check_option(layer: Any, name: str, value: Any, own: Mapping[str, Check]) -> None:
    """A value that an option of the layer has, or is to have."""
    check = own.get(name) or _CHECKS.get(name)
    if check is not None:
        check(value, layer)


@functools.cache
def _options_of(layer: type) -> frozenset[str]:
    """The options that dropjax gives it: a user's subclass may have others."""
    ours: Any = next(it for it in layer.__mro__ if it.__module__.startswith("dropjax."))
    return frozenset(inspect.signature(ours.__init__).parameters)


def _plain(check: Callable[..., object], *given: Any) -> Check:
    """A check of the value alone."""
    return lambda value, layer: check(value, *given)


def _unless_none(check: Check) -> Check:
    return lambda value, layer: None if value is None else check(value, layer)


def _rate(name: str) -> Check:
    """A rate may be left to the call, or to the other rate."""
    return _unless_none(_plain(check_rate, name))


def _ndim(layer: Any) -> int | None:
    """How many axes its arrays have, if the layer says that."""
    spatial = getattr(layer, "spatial_axes", None)
    return None if spatial is None else spatial + (1 if layer.batch_axis is None else 2)


def _axis_beside_batch(name: str) -> Check:
    def check(axis: Any, layer: Any) -> None:
        check_channel_and_batch(axis, layer.batch_axis, _ndim(layer), name)

    return check


def _window(name: str) -> Check:
    return lambda sizes, layer: check_window(sizes, name, _rank(layer))


def _rank(layer: Any) -> int:
    return len(check_sizes(layer.kernel_size, "kernel_size"))


def _padding(padding: Any, layer: Any) -> None:
    rank = _rank(layer)
    spread = check_window(layer.input_dilation, "input_dilation", rank)
    check_padding(padding, rank, spread)


def _check_noise_shape(noise_shape: Any, layer: Any) -> None:
    check_one_sharing(layer.broadcast_dims, noise_shape)
    check_noise_sizes(noise_shape)


_AXES = _plain(check_axes, None, "broadcast_dims")

# Checks that are given an option's name.
_NAMED: Mapping[Callable[[Any, str], object], str] = {
    check_rate: "input_rate selected_rate",
    check_inner_rate: "init_rate",
    check_flag: "inside per_channel scale_by_keep broadcast_dropout renormalize "
    "ordered multiplicative return_mask keep_one",
    check_range: "forward_range backward_range",
    check_choice: "scaling mode",
    check_count: "samples feature_group_count num_samples examples groups span_length",
    check_share: "time_share",
    check_positive: "gamma_scale temperature length_scale",
    check_sizes: "size kernel_size",
    check_features: "features",
    check_shape: "shape",
}
_CHECKS: Mapping[str, Check] = {
    **{
        name: _plain(check, name)
        for check, names in _NAMED.items()
        for name in names.split()
    },
    "rate": _rate("rate"),
    "memory_rate": _rate("memory_rate"),
    "bias_rate": _rate("bias_rate"),
    "stddev": _unless_none(_plain(check_noise_size, "stddev")),
    "amplitude": _unless_none(_plain(check_noise_size, "amplitude")),
    "alpha": _unless_none(_plain(check_noise_size, "alpha")),
    "deterministic": _unless_none(_plain(check_deterministic)),
    "broadcast_dims": _AXES,
    "noise_shape": _unless_none(_check_noise_shape),
    "batch_axis": lambda axis, layer: check_batch(axis, _ndim(layer)),
    "channel_axis": _axis_beside_batch("channel_axis"),
    "head_axis": _axis_beside_batch("head_axis"),
    "time_axis": _plain(check_axis, None, "time_axis"),
    "block_size": lambda n, layer: check_sizes(n, "block_size", layer.spatial_axes),
    "fill": _plain(check_fill_kind),
    "area": _plain(check_range, "area", 0, 1),
    "ratio": _plain(check_range, "ratio", 0),
    **{
        name: _plain(check_count, name, 0)
        for name in (
            *("prefix_tokens", "min_spans", "time_masks", "time_width"),
            *("frequency_masks", "frequency_width"),
        )
    },
    "frequency_axis": _plain(check_axis, None, "frequency_axis"),
    "unknown_id": _plain(check_id, None, "unknown_id"),
    "protected": _plain(check_ids, None, "protected"),
    "where": _plain(check_where),
    "axis": _plain(check_axes, None, "axis"),
    "einsum_str": _unless_none(_plain(check_einsum_str)),
    "batch_dims": _plain(check_axes, None, "batch_dims"),
    "strides": _window("strides"),
    "input_dilation": _window("input_dilation"),
    "kernel_dilation": _window("kernel_dilation"),
    "padding": _padding,
    "mask_per": _plain(check_mask_per),
    "noise": lambda noise, layer: check_noise(noise, layer.mask_per),
    "inference": lambda inference, layer: check_inference(inference, layer.activation),
    "activation": _unless_none(_plain(check_function, "activation")),
}

# What some layers ask more, or less, of.
OF_DROPCONNECT: Mapping[str, Check] = {
    "rate": _plain(check_rates),
    "block_size": _plain(check_weight_block),
}
OF_GENERAL: Mapping[str, Check] = {
    "features": _plain(check_all_features),
    "batch_axis": _plain(check_batch_sizes),
}
NOISE_RATE: Mapping[str, Check] = {"rate": _unless_none(_plain(check_noise_rate))}
HOST_RATE: Mapping[str, Check] = {
    "rate": _unless_none(_plain(check_host_rate, "how many tokens are left"))
}
OF_STRUCTURED_MLP: Mapping[str, Check] = {
    "hidden_features": _plain(check_features, "hidden_features"),
    "out_features": _plain(check_features, "out_features"),
    "rate": _unless_none(_plain(check_unit_rate)),
    "activation": _plain(check_function, "activation"),
    "block_size": lambda size, layer: check_unit_blocks(
        layer.hidden_features, size, layer.groups
    ),
    "gated": _plain(check_flag, "gated"),
}
AXES_OR_NONE: Mapping[str, Check] = {"broadcast_dims": _unless_none(_AXES)}
AN_ACTIVATION: Mapping[str, Check] = {
    "activation": _plain(check_function, "activation")
}
OF_SPANS: Mapping[str, Check] = {
    "fill": _plain(check_span_fill_kind),
    "time_axis": _axis_beside_batch("time_axis"),
}
OF_SUBSET_BRANCH: Mapping[str, Check] = {
    "rate": _unless_none(_plain(check_subset_rate)),
    "axis": _plain(check_subset_axis),
}
OF_CONDITION: Mapping[str, Check] = {"fill": _plain(check_fill_tree)}
OF_MODALITIES: Mapping[str, Check] = {
    "rate": lambda rate, layer: check_some_kept(rate, layer.keep_one),
    **OF_CONDITION,
}
OF_DROP_PATH: Mapping[str, Check] = {
    "batch_axis": lambda axis, layer: (
        layer.mode == "batch" or check_axis(axis, None, "batch_axis")
    ),
    "scaling": _plain(check_path_scaling),
}
