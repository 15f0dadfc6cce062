"""Monte Carlo dropout on UCI data: python examples/uci.py [--config=FILE].

Trains small networks on twenty splits of a data set, without dropping, with dropout and
with concrete dropout, and measures the error and the likelihood of their predictions on
the test rows. Rates and precisions are chosen for each split, by the likelihood of
validation rows. All networks of a method are trained at once, vmapped in one jitted
program. Writes uci.json, uci.md and uci.png to the workdir, beside published figures.
Ctrl-C writes a checkpoint; --resume continues from there, bit for bit.
"""

import contextlib
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Imported first: it reports missing packages.
from training.errors import run_program

# isort: split
import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console
from training import command_line, uci_data, uci_nets, uci_report, workdir
from training.checkpoints import Checkpoints
from training.command_line import Options
from training.interrupts import Interrupt
from training.reporting import progress_bar
from training.uci_nets import Choice, Fit, State


class _Stopped(Exception):
    """The user asked the run to stop; a checkpoint has been written."""


def main(argv: Sequence[str]) -> int:
    """Run the program.

    Args:
      argv: the command line, the program's name first.

    Returns:
      The exit code.
    """
    options = command_line.parse(argv, __doc__ or "", "uci_concrete.py")
    if options is None:
        return 0
    config, folder, console = options.config, options.workdir, Console()
    uci_nets.check(config)
    with Interrupt().watched() as interrupt, workdir.locked(folder):
        if options.resume:
            workdir.check_same_config(folder, config)
        else:
            workdir.check_free(folder)
        data = uci_data.load(config.dataset)
        workdir.write_json(folder / "config.json", config.to_dict())
        try:
            result = _Experiment(options, data, interrupt, console).run()
        except _Stopped:
            again = shlex.join(dict.fromkeys(["python", *argv, "--resume"]))
            console.print("stopped; continue with:", highlight=False)
            console.print(again, highlight=False, soft_wrap=True)
            return 128 + interrupt.received
        console.print(uci_report.table(folder.name, result))
        uci_report.write(folder, result)
    return 0


class _Experiment:
    """All methods on one data set."""

    def __init__(
        self,
        options: Options,
        data: tuple[np.ndarray, np.ndarray],
        interrupt: Interrupt,
        console: Console,
    ) -> None:
        self._options, self._config = options, options.config
        self._data, self._interrupt, self._console = data, interrupt, console
        self._runs = self._config.splits * self._config.seeds

    def run(self) -> dict:
        """Train with every method and return the content of uci.json."""
        config, rows, searches = self._config, [], {}
        for method in uci_nets.METHODS:
            if method not in config.methods:
                continue
            grid = uci_nets.grid(config, method)
            points = Choice(*(np.tile(it, (self._runs, 1)) for it in grid))
            if method != "concrete":
                found = self._fit(method, f"{method}-search", points, validation=True)
                searches[method] = uci_report.search(config, grid, found)
                # The best point of each run, at each stop.
                best = np.asarray(found.scores["ll"]).argmax(-1).T
                points = Choice(*(it[best] for it in grid))
            final = self._fit(method, f"{method}-final", points, validation=False)
            rows += uci_report.rows(config, method, final)
        return uci_report.result(config, self._data[0].shape, rows, searches)

    def _fit(self, method: str, name: str, choice: Choice, validation: bool) -> State:
        """Train networks, with a checkpoint folder of this name, to the last stop."""
        config, stops = self._config, self._config.epochs
        splits = uci_data.make_splits(*self._data, config.splits, validation)
        fit = uci_nets.prepare(config, method, splits, choice)
        folder = self._options.workdir / "checkpoints" / name
        with (
            contextlib.closing(Checkpoints(folder, keep=1)) as checkpoints,
            progress_bar(self._console) as bar,
        ):
            state = fit.init(len(stops))
            if self._options.resume:
                state = checkpoints.restore(state, lambda line: self._say(name, line))
            task = bar.add_task(name, total=stops[-1], text="")
            while int(state.epoch) < stops[-1]:
                state = _advance(config, fit, state)
                bar.update(task, completed=int(state.epoch))
                self._report(name, state)
                self._save(checkpoints, state)
        return state

    def _report(self, name: str, state: State) -> None:
        epoch, stops = int(state.epoch), self._config.epochs
        if epoch in stops:
            means = {
                key: float(state.scores[key][stops.index(epoch)].mean())
                for key in ("rmse", "ll")
            }
            self._say(
                name,
                f"{epoch:,} epochs, RMSE {means['rmse']:.3f}, log-likelihood "
                f"{means['ll']:.3f}, mean of all networks; {state.seconds[0]:.0f} s",
            )

    def _save(self, checkpoints: Checkpoints, state: State) -> None:
        epoch, stopped = int(state.epoch), self._interrupt.received
        due = epoch % self._config.checkpoint_every == 0
        if due or stopped or epoch in self._config.epochs:
            checkpoints.save(epoch, state)
        if stopped:
            raise _Stopped

    def _say(self, name: str, line: str) -> None:
        self._console.print(f"{name}: {line}", highlight=False, soft_wrap=True)


def _advance(config: ConfigDict, fit: Fit, state: State) -> State:
    """Train for one call, and measure at a stop."""
    began = np.array([time.perf_counter(), time.process_time()])
    epoch = int(state.epoch)
    stop = next(it for it in config.epochs if it > epoch)
    state = fit.advance(state, min(config.epochs_per_call, stop - epoch))
    if int(state.epoch) == stop:
        state = fit.measure(state, config.epochs.index(stop))
    jax.block_until_ready(state)
    taken = np.array([time.perf_counter(), time.process_time()]) - began
    return state._replace(seconds=state.seconds + taken.astype(np.float32))


if __name__ == "__main__":
    sys.exit(run_program(Path(__file__).name, main, sys.argv))
