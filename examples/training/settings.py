"""All settings of an experiment: defaults, types and rules."""

import math
from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from training import data, layers, models, optimizers
from training.errors import UserError


def default_config() -> ConfigDict:
    """Return the default settings of an experiment, locked against typos.

    Returns:
      A ConfigDict whose values can be replaced by values of the same type, and to
      which no keys can be added.
    """
    config = ConfigDict()
    config.seed = 0
    config.dataset = "digits"
    config.train_examples = 0  # 0: all of them
    config.test_examples = 0
    config.host = "linen"
    config.model = "mlp"
    config.hidden = (256, 256)
    config.channels = (32, 64)
    config.length = 64  # characters per sequence
    # Of the transformers: their heads, the hidden units of their dense layers in units
    # of the width, and the patches along a side of an image.
    config.heads = 4
    config.expansion = 2
    config.patches = 4
    config.activation = "relu"
    config.init_deviation = 0.0  # of the initial weights; 0: Flax's default
    config.method = "none"
    config.rate = 0.5
    config.early_steps = 1000  # of the method "early_dropout"
    config.scaling = "inverted"
    config.mask_per = 0  # examples sharing a DropConnect mask; 0: the whole batch
    config.noise = "bernoulli"  # of DropConnect: masks, or equivalent "gaussian" noise
    config.drop_biases = False
    config.consistency = 0.0  # weight of R-Drop in the loss; 0: one pass per step
    # Networks trained in parallel from consecutive seeds, and the number of samples of
    # Gaussian inference in their final evaluation.
    config.nets = 1
    config.samples = 1000
    config.epochs = 100
    config.batch_size = 64
    config.optimizer = "adamw"
    config.learning_rate = 3e-3
    config.schedule = "cosine"
    config.stages = (600, 400, 20)  # the proportions of the schedule "stages"
    config.weight_decay = 1e-4
    # Whether to keep the train set on the device and scan over the steps; "auto": up to
    # this size, except for convolutions on a CPU.
    config.scan = "auto"
    config.device_data_mib = 1024
    # Steps between checks of the clock and for Ctrl-C; 0: one epoch.
    config.steps_per_call = 0
    # In a comparison, the steps between evaluations on the test split; 0: an epoch.
    config.eval_steps = 0
    config.checkpoint_every = 1
    config.keep_checkpoints = 3
    return config.lock()


def comparison_config() -> ConfigDict:
    """Return the default settings plus those of a comparison of methods.

    Returns:
      ``default_config()`` with ``seeds``, the number of runs per method, ``methods``, a
      mapping from each method to its rate, and ``rates`` for a sweep: if not empty,
      each method with a rate above 0 is trained at each of these rates instead.
    """
    config = default_config().unlock()
    config.seeds = 5
    config.rates = ()
    config.methods = ConfigDict({"none": 0.0, "dropout": 0.5, "dropconnect": 0.5})
    return config.lock()


def wan2013_config(method: str) -> ConfigDict:
    """Return the settings of the MNIST experiment of Wan et al., 2013.

    Its 600-400-20 schedule takes 600 + 2 x 400 + 4 x 20 = 1480 epochs; fewer epochs
    shorten all stages in proportion.

    Args:
      method: "none", "dropout" or "dropconnect".

    Returns:
      The default settings, updated with those of the paper.
    """
    config = default_config()
    config.dataset = "mnist"
    config.hidden = (800, 800)
    config.init_deviation = 0.1
    config.method = method
    config.scaling = "standard"
    config.mask_per = 1
    config.drop_biases = True
    config.nets = 5
    config.epochs = 1480
    config.batch_size = 128
    config.optimizer = "sgd"
    config.learning_rate = 0.1
    config.schedule = "stages"
    config.weight_decay = 0.0
    config.steps_per_call = 39  # a twelfth of an epoch
    return config


def shakespeare_config(method: str) -> ConfigDict:
    """Return the settings of the character-level LSTM on Tiny Shakespeare.

    Args:
      method: "none", "dropout" or "dropconnect".

    Returns:
      The default settings, updated with those of the LSTM.
    """
    config = default_config()
    config.dataset = "tiny_shakespeare"
    config.train_examples = 1568  # a tenth of the text
    config.test_examples = 512
    config.model = "lstm"
    config.hidden = (128,)
    config.method = method
    config.epochs = 30
    config.batch_size = 32
    return config


def decoder_config(method: str) -> ConfigDict:
    """Return the settings of the transformer on Tiny Shakespeare.

    Args:
      method: one of `training.decoder.METHODS`.

    Returns:
      The default settings, updated with those of the transformer.
    """
    config = default_config()
    config.dataset = "tiny_shakespeare"
    config.length = 2048
    config.model = "decoder"
    config.hidden = (64, 64)
    config.heads = 2
    config.expansion = 4
    config.method = method
    config.rate = 0.1
    config.epochs = 3
    config.batch_size = 2
    return config


def check(config: ConfigDict, template: ConfigDict) -> None:
    """Raise an error for invalid settings, before anything is loaded or written.

    Args:
      config: the result of ``get_config()``, with overrides applied.
      template: a config with all keys that the program needs.

    Raises:
      UserError: a key, a choice, a number or a combination is invalid.
    """
    _check_keys(config, template)
    for name, choices in _CHOICES.items():
        if config[name] not in choices:
            raise _wrong(config, name, f"one of {', '.join(choices)}")
    for name, (holds, rule) in _RULES.items():
        if not holds(config[name]):
            raise _wrong(config, name, rule)
    if (config.dataset in data.TEXTS) != (config.model in layers.ON_TEXT):
        raise UserError(
            f"model {config.model!r} does not fit dataset {config.dataset!r}: "
            f"{' and '.join(layers.ON_TEXT)} take {', '.join(data.TEXTS)}, the others "
            "take images"
        )
    methods = config.methods if "methods" in config else {config.method: config.rate}
    for method, rate in methods.items():
        _check_method(config.model, method, rate)
    _check_model(config)
    _check_layers(config)
    _check_noise(config)
    _check_scan(config)
    if "methods" in config:
        _check_comparison(config)


def _check_model(config: ConfigDict) -> None:
    if config.host not in (hosts := models.hosts_of(config.model)):
        raise _wrong(config, "host", f"{hosts[0]} for model {config.model!r}")
    unit = config.heads * _WIDTH_UNITS.get(config.model, 0)
    if unit and (len(set(config.hidden)) > 1 or config.hidden[0] % unit):
        raise _wrong(config, "hidden", f"a multiple of {unit}, the same for each block")


def _check_layers(config: ConfigDict) -> None:
    if config.model == "perceptron" and len(config.hidden) % 2 == 0:
        raise _wrong(config, "hidden", "an odd number of widths, for pairs of layers")


def _check_noise(config: ConfigDict) -> None:
    if config.noise == "gaussian" and config.mask_per > 1:
        raise _wrong(config, "mask_per", "0 or 1 where no mask is shared")


def _check_scan(config: ConfigDict) -> None:
    if config.nets > 1 and config.scan == "never":
        raise UserError(
            f"config.nets is {config.nets}: nets side by side are trained in a scan, "
            "got config.scan 'never'"
        )


def _check_comparison(config: ConfigDict) -> None:
    if config.seeds < 1:
        raise _wrong(config, "seeds", "1 or more")
    if config.nets != 1:
        raise _wrong(config, "nets", "1 in a comparison, whose nets are its seeds")
    if not all(isinstance(rate, float) and 0 < rate < 1 for rate in config.rates):
        raise _wrong(config, "rates", "a tuple of numbers between 0 and 1")


def _check_keys(config: ConfigDict, template: ConfigDict) -> None:
    if missing := sorted(set(template) - set(config)):
        raise UserError(
            f"the config lacks {', '.join(missing)}: start from the default_config() "
            "(train.py) or comparison_config() (compare.py) of training.settings"
        )
    if extra := sorted(set(config) - set(template)):
        raise UserError(
            f"the config has keys of no use here: {', '.join(extra)} "
            "(train.py takes one experiment, compare.py a comparison)"
        )


def _check_method(model: str, method: str, rate: float) -> None:
    if method not in models.METHODS[model]:
        raise UserError(
            f"method {method!r} does not fit model {model!r}, "
            f"which takes {', '.join(models.METHODS[model])}"
        )
    if not (isinstance(rate, float) and 0 <= rate < 1):
        raise UserError(
            f"the rate of {method} must be at least 0 and below 1, got {rate!r}"
        )


def _wrong(config: ConfigDict, name: str, rule: str) -> UserError:
    return UserError(f"config.{name} must be {rule}, got {config[name]!r}")


def _widths(value: tuple[Any, ...]) -> bool:
    return bool(value) and all(type(width) is int and width > 0 for width in value)


_Rule = tuple[Callable[[Any], bool], str]
_POSITIVE: _Rule = (lambda value: value > 0, "1 or more")
_NATURAL: _Rule = (lambda value: value >= 0, "0 or more")
_WIDTHS: _Rule = (_widths, "a tuple of one or more positive integers")
_UP: _Rule = (lambda value: 0 <= value < math.inf, "0 or a positive number")
_STAGES: _Rule = (
    lambda value: _widths(value) and len(value) == 3,
    "a tuple of three positive integers",
)

# The heads of a decoder have even widths, because pairs of features are rotated.
_WIDTH_UNITS = {"transformer": 1, "decoder": 2}
_CHOICES = {
    "dataset": tuple(data.DATASETS),
    "host": tuple(models.HOSTS),
    "model": tuple(models.METHODS),
    "activation": tuple(layers.ACTIVATIONS),
    "noise": ("bernoulli", "gaussian"),
    "scaling": ("inverted", "standard"),
    "scan": ("auto", "always", "never"),
    "optimizer": tuple(optimizers.OPTIMIZERS),
    "schedule": tuple(optimizers.SCHEDULES),
}
_RULES: dict[str, _Rule] = {
    "seed": (lambda value: 0 <= value < 2**32, "at least 0 and below 2**32"),
    "train_examples": _NATURAL,
    "test_examples": _NATURAL,
    "hidden": _WIDTHS,
    "channels": _WIDTHS,
    "epochs": _POSITIVE,
    "batch_size": _POSITIVE,
    "learning_rate": (lambda value: 0 < value < math.inf, "a positive number"),
    "weight_decay": _UP,
    "consistency": _UP,
    "init_deviation": _UP,
    "length": _POSITIVE,
    "heads": _POSITIVE,
    "expansion": _POSITIVE,
    "patches": _POSITIVE,
    "early_steps": _POSITIVE,
    "eval_steps": _NATURAL,
    "mask_per": _NATURAL,
    "nets": _POSITIVE,
    "samples": _POSITIVE,
    "stages": _STAGES,
    "device_data_mib": _NATURAL,
    "steps_per_call": _NATURAL,
    "checkpoint_every": _POSITIVE,
    "keep_checkpoints": _POSITIVE,
}
