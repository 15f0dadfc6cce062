"""Rules for the values of settings, and their check."""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from training.errors import UserError

# What must hold, and how it is said.
Rule = tuple[Callable[[Any], bool], str]


def one_of(choices: Collection[str]) -> Rule:
    """Return the rule of a choice.

    Args:
      choices: all choices.

    Returns:
      The rule.
    """
    return choices.__contains__, f"one of {', '.join(choices)}"


def each(kind: type, holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return what must hold for a tuple of one or more values.

    Args:
      kind: the type of each value; bool is not an int.
      holds: what must hold for each.

    Returns:
      Whether it does.
    """
    return lambda values: (
        bool(values) and all(type(it) is kind and holds(it) for it in values)
    )


COUNT: Rule = (lambda value: value > 0, "1 or more")
NATURAL: Rule = (lambda value: value >= 0, "0 or more")
POSITIVE: Rule = (lambda value: 0 < value < math.inf, "a positive number")
NOT_NEGATIVE: Rule = (lambda value: 0 <= value < math.inf, "0 or a positive number")
FRACTION: Rule = (lambda value: 0 < value < 1, "between 0 and 1")
FRACTIONS: Rule = (each(float, FRACTION[0]), "a tuple of floats between 0 and 1")
POSITIVES: Rule = (each(float, POSITIVE[0]), "a tuple of positive floats")
COUNTS: Rule = (each(int, COUNT[0]), "a tuple of one or more positive integers")
SEED: Rule = (lambda value: 0 <= value < 2**32, "at least 0 and below 2**32")


def check(
    config: Mapping[str, Any],
    template: Mapping[str, Any],
    rules: Mapping[str, Rule],
    start: str,
) -> None:
    """Raise an error for a missing, an unknown or an invalid setting.

    Args:
      config: the settings.
      template: settings with all keys that the program needs.
      rules: for some keys, what must hold and how it is said.
      start: what to start from instead, for the message.

    Raises:
      UserError: a key is missing or unknown, or a rule does not hold.
    """
    missing, extra = (
        ", ".join(sorted(set(one) - set(other)))
        for one, other in ((template, config), (config, template))
    )
    if missing:
        raise UserError(f"the config lacks {missing}: start from {start}")
    if extra:
        raise UserError(
            f"the config has keys of no use here: {extra}; start from {start}"
        )
    for name, (holds, rule) in rules.items():
        if not holds(config[name]):
            raise invalid(config, name, rule)


def invalid(config: Mapping[str, Any], name: str, rule: str) -> UserError:
    """Return the error of an invalid setting.

    Args:
      config: the settings.
      name: the setting's name.
      rule: what must hold.

    Returns:
      The error.
    """
    return UserError(f"config.{name} must be {rule}, got {config[name]!r}")
