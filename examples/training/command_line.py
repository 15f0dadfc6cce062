"""The command line: the experiment, its overrides and the workdir."""

import dataclasses
import difflib
import importlib.machinery
import importlib.util
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from training.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Options:
    """The parsed command line.

    Attributes:
      config: the experiment's settings, with overrides applied.
      workdir: the directory for all output of the run.
      resume: whether to continue from the last checkpoint.
      download: whether missing data may be downloaded.
    """

    config: ConfigDict
    workdir: Path
    resume: bool
    download: bool


def parse(argv: Sequence[str], about: str, default_config: str) -> Options | None:
    """Parse the command line and load the config file.

    Args:
      argv: the command line, the program's name first.
      about: the first lines of ``--help``.
      default_config: the file in ``configs/`` to use without ``--config``.

    Returns:
      The options, or None after printing the help for ``--help`` or ``-h``.

    Raises:
      UserError: a flag, the config file or an override of it is wrong.
    """
    known = _define(default_config)
    try:
        overrides = known(argv, known_only=True)
    except flags.Error as error:
        raise UserError(str(error)) from None
    if known.help:
        print(f"{about.strip()}\n{known.get_help()}")
        return None
    config = _override(load_config(Path(known.config)), overrides, list(known))
    workdir = known.workdir or f"runs/{Path(known.config).stem}"
    return Options(config, Path(workdir).expanduser(), known.resume, known.download)


def resume_command(argv: Sequence[str]) -> str:
    """Return the command that continues a run.

    Args:
      argv: its command line, the program's name first.

    Returns:
      A line for a shell.
    """
    return shlex.join(dict.fromkeys(["python", *argv, "--resume"]))


def load_config(path: Path) -> ConfigDict:
    """Run ``get_config()`` of a Python file.

    Args:
      path: the file.

    Returns:
      What it returned.

    Raises:
      UserError: the file does not exist, fails, or returns something else.
    """
    if not path.is_file():
        raise UserError(f"there is no config file {path}{_file_hint(path)}")
    loader = importlib.machinery.SourceFileLoader("experiment", str(path))
    module = importlib.util.module_from_spec(
        importlib.machinery.ModuleSpec("experiment", loader, origin=str(path))
    )
    try:
        loader.exec_module(module)
        config = module.get_config()
    except Exception as error:  # the user's code may raise anything
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"{path}: get_config() must return a ConfigDict, got a "
            f"{type(config).__name__}"
        )
    return config


def _define(default_config: str) -> flags.FlagValues:
    values = flags.FlagValues()
    config = str(_ROOT / "configs" / default_config)
    flags.DEFINE_string(
        "config",
        config,
        "The Python file of the experiment; --config.KEY=VALUE overrides a setting.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "The directory for all output of the run (default: runs/NAME-OF-CONFIG).",
        flag_values=values,
    )
    for name, words in _SWITCHES.items():
        flags.DEFINE_bool(name, False, words, flag_values=values)
    define_help(values)
    return values


def define_help(values: flags.FlagValues) -> None:
    """Add ``--help`` and ``-h``.

    Args:
      values: the flags of a program.
    """
    words = "Show this help."
    flags.DEFINE_bool("help", False, words, flag_values=values, short_name="h")


def _override(config: ConfigDict, argv: list[str], known: list[str]) -> ConfigDict:
    for argument in argv[1:]:
        if match := re.match(r"--?(?:no)?config\.([^=]*)", argument):
            _check_key(config, match[1])
        elif match := re.match(r"--?([^=]+)", argument):
            raise UserError(f"unknown flag --{match[1]}{_hint(match[1], known)}")
    values = flags.FlagValues()
    try:
        flag = config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=argv
        )
        rest = values(argv)[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(str(error)) from None
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}")
    return flag.value


def _check_key(config: ConfigDict, key: str) -> None:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, ConfigDict) or part not in node:
            names = list(node) if isinstance(node, ConfigDict) else []
            raise UserError(f"the config has no key {key!r}{_hint(part, names)}")
        node = node[part]


def _file_hint(path: Path) -> str:
    """Suggest a file with a similar name, in the same directory or in ``configs/``."""
    folders = path.parent, _ROOT / "configs"
    found = {file.stem: file for it in reversed(folders) for file in it.glob("*.py")}
    close = difflib.get_close_matches(path.stem, found, n=1)
    return f"; did you mean {_short(found[close[0]])}?" if close else ""


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _hint(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


_SWITCHES = {
    "resume": "Continue from the last checkpoint in the workdir, bit for bit.",
    "download": "Download missing data files and verify their SHA-256.",
}
