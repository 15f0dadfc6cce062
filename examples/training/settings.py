"""All settings of an experiment: defaults, types and rules."""

from ml_collections import ConfigDict

from training import data, layers, models, optimizers, rules
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
    rules.check(config, template, _RULES, _START)
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
    _check_noise(config)
    _check_scan(config)
    if "methods" in config:
        _check_comparison(config)


def _check_model(config: ConfigDict) -> None:
    if config.host not in (hosts := models.hosts_of(config.model)):
        raise rules.invalid(config, "host", f"{hosts[0]} for model {config.model!r}")
    unit = config.heads * _WIDTH_UNITS.get(config.model, 0)
    if unit and (len(set(config.hidden)) > 1 or config.hidden[0] % unit):
        raise rules.invalid(
            config, "hidden", f"a multiple of {unit}, the same for each block"
        )

    if config.model == "perceptron" and len(config.hidden) % 2 == 0:
        raise rules.invalid(
            config, "hidden", "an odd number of widths, for pairs of layers"
        )


def _check_noise(config: ConfigDict) -> None:
    if config.noise == "gaussian" and config.mask_per > 1:
        raise rules.invalid(config, "mask_per", "0 or 1 where no mask is shared")


def _check_scan(config: ConfigDict) -> None:
    if config.nets > 1 and config.scan == "never":
        raise UserError(
            f"config.nets is {config.nets}: nets side by side are trained in a scan, "
            "got config.scan 'never'"
        )


def _check_comparison(config: ConfigDict) -> None:
    if config.seeds < 1:
        raise rules.invalid(config, "seeds", "1 or more")
    if config.nets != 1:
        raise rules.invalid(
            config, "nets", "1 in a comparison, whose nets are its seeds"
        )
    if config.rates and not rules.FRACTIONS[0](config.rates):
        raise rules.invalid(config, "rates", rules.FRACTIONS[1])


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


# The heads of a decoder have even widths, because pairs of features are rotated.
_WIDTH_UNITS = {"transformer": 1, "decoder": 2}
_START = (
    "the default_config() (train.py, one experiment) or comparison_config() "
    "(compare.py, several methods) of training.settings"
)
_RULES: dict[str, rules.Rule] = {
    "dataset": rules.one_of(data.DATASETS),
    "host": rules.one_of(models.HOSTS),
    "model": rules.one_of(models.METHODS),
    "activation": rules.one_of(layers.ACTIVATIONS),
    "noise": rules.one_of(("bernoulli", "gaussian")),
    "scaling": rules.one_of(("inverted", "standard")),
    "scan": rules.one_of(("auto", "always", "never")),
    "optimizer": rules.one_of(optimizers.OPTIMIZERS),
    "schedule": rules.one_of(optimizers.SCHEDULES),
    "seed": rules.SEED,
    "train_examples": rules.NATURAL,
    "test_examples": rules.NATURAL,
    "hidden": rules.COUNTS,
    "channels": rules.COUNTS,
    "epochs": rules.COUNT,
    "batch_size": rules.COUNT,
    "learning_rate": rules.POSITIVE,
    "weight_decay": rules.NOT_NEGATIVE,
    "consistency": rules.NOT_NEGATIVE,
    "init_deviation": rules.NOT_NEGATIVE,
    "length": rules.COUNT,
    "heads": rules.COUNT,
    "expansion": rules.COUNT,
    "patches": rules.COUNT,
    "early_steps": rules.COUNT,
    "eval_steps": rules.NATURAL,
    "mask_per": rules.NATURAL,
    "nets": rules.COUNT,
    "samples": rules.COUNT,
    "stages": (
        lambda value: rules.COUNTS[0](value) and len(value) == 3,
        "a tuple of three positive integers",
    ),
    "device_data_mib": rules.NATURAL,
    "steps_per_call": rules.NATURAL,
    "checkpoint_every": rules.COUNT,
    "keep_checkpoints": rules.COUNT,
}
