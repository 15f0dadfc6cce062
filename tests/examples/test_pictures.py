"""Every picture names its axes, and has a legend in words that a reader knows."""

from collections.abc import Callable
from pathlib import Path

import calibrate
import numpy as np
import pytest
import uncertainty
from matplotlib.figure import Figure
from training import curves, regression, uci_report
from training.comparison import Row

from .test_uci import recorded

HERE = Path("picture.png")
LINES = [
    {
        "epoch": epoch,
        **{f"{s}_{q}": 0.5 for s in ("train", "test") for q in ("loss", "accuracy")},
    }
    for epoch in (1, 2, 3)
]
ROWS = [
    Row(method, rate, (8,), ((1.0, 2.0),), ((0.9, 0.8),), ((1.0, 2.0),), (0.5,))
    for method, rate in (("none", 0.0), ("dropout", 0.25))
]
ONE_SEED = [Row("none", 0.0, (8,), ((1.0,),), ((0.9,),), ((1.0,),), (0.5,))]


def draw_uncertainty() -> None:
    config, x = regression.regression_config(), np.linspace(-5, 5, 9)
    uncertainty._draw(HERE, config, (x, x), x, [x, x**2, x**2])


def draw_reliability() -> None:
    labels = np.arange(3)
    p = {"mean network": np.full((3, 4), 0.25), "Monte Carlo": np.eye(4)[:3]}
    calibrate._draw(HERE, "a run", p, labels)


PICTURES: dict[str, Callable[[], None]] = {
    "learning curves": lambda: curves.draw(HERE, "a run", LINES),
    "comparison": lambda: curves.draw_comparison(HERE, "nets", ROWS),
    "one seed": lambda: curves.draw_comparison(HERE, "nets", ONE_SEED),
    "sweep": lambda: curves.draw_sweep(HERE, "nets", ROWS),
    "reliability": draw_reliability,
    "uci": lambda: uci_report.draw(HERE, recorded("boston")),
    "uncertainty": draw_uncertainty,
}


@pytest.fixture
def drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Figure:
    figures = []
    monkeypatch.setattr(curves, "save", lambda figure, path: figures.append(figure))
    PICTURES[request.param]()
    (figure,) = figures
    return figure


def legend(figure: Figure) -> list[str]:
    boxes = [*figure.legends, *(it.get_legend() for it in figure.axes)]
    return [text.get_text() for box in boxes if box for text in box.get_texts()]


@pytest.mark.parametrize("drawn", PICTURES, indirect=True)
def test_a_picture_has_a_title_named_axes_and_a_legend(drawn: Figure) -> None:
    assert drawn.get_suptitle() or all(it.get_title() for it in drawn.axes)
    assert all(it.get_xlabel() and it.get_ylabel() for it in drawn.axes)
    assert legend(drawn)


@pytest.mark.parametrize("drawn", ["uncertainty"], indirect=True)
def test_the_legend_of_uncertainty_is_in_the_words_of_the_field(drawn: Figure) -> None:
    assert legend(drawn) == [
        "± 2 standard deviations, model and noise",
        "± 2 standard deviations, model alone",
        "prediction: mean of 200 passes",
        "true function",
        "measurements (training data)",
    ]


@pytest.mark.parametrize("drawn", ["learning curves"], indirect=True)
def test_curves_tell_training_from_evaluation(drawn: Figure) -> None:
    assert legend(drawn) == [
        "train: running mean of the epoch, with noise",
        "test: after the epoch, without noise",
    ]


@pytest.mark.parametrize("drawn", ["comparison"], indirect=True)
def test_a_legend_has_no_rate_where_nothing_is_dropped(drawn: Figure) -> None:
    assert legend(drawn) == ["none", "dropout, rate 0.25"]
