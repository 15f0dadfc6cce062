"""Draws what each method does to the same feature maps, sentence and weights.

`make picture` writes family.png, with a digest of its contents in the metadata; a test
compares the digest, so that the picture stays in step with the library.
"""

import hashlib
import itertools
import pathlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

import dropjax as dj

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUT = pathlib.Path(__file__).with_name("family.png")
RATE = 0.3
WORDS = ["the", "cat", "sat", "on", "the", "mat", "and", "the", "dog", "sat", "too"]
UNKNOWN = len(WORDS)
MAPS, SENTENCE, WEIGHTS = "feature maps", "a sentence", "weights"
ATTENTION = "attention"

PAPER, INK, GREY = "#ffffff", "#1c1e21", "#70757d"
DROPPED, FLOOR, MARK, OLD = "#eceef1", "#20242e", "#f6cf57", "#9ccfc0"
HUES = {
    MAPS: (
        ("#e6e8fa", "#8d9be6", "#3f51c4", "#1d2a7a"),
        ("#fdebdc", "#f5ab74", "#dd6a2b", "#8f3a10"),
        ("#dcf3ec", "#74ccb4", "#1f9a7c", "#0c5847"),
    ),
    SENTENCE: (("#f1e6f8", "#c596e0", "#8d45b5", "#521c72"),),
    ATTENTION: (("#fdeef1", "#f0a3b4", "#d1476a", "#86173a"),) * 3,
    WEIGHTS: (("#1d5a97", "#74a9d8", "#e9b0a6", "#b8392b"),),
}


def feature_maps() -> np.ndarray:
    """Two examples of three channels: hills, waves and rings, from 0 to 1."""
    y, x = np.mgrid[0:12, 0:12] / 11
    first = [
        np.exp(-((x - 0.35) ** 2 + (y - 0.4) ** 2) / 0.12),
        0.5 + 0.5 * np.sin(7 * (x + 0.7 * y)),
        0.5 + 0.5 * np.cos(9 * np.hypot(x - 0.5, y - 0.6)),
    ]
    maps = np.stack([np.stack(first, -1), np.stack([f.T[::-1] for f in first], -1)])
    return (0.15 + 0.85 * maps).astype(np.float32)


def attention() -> np.ndarray:
    """Two examples, three heads: near, previous and distant tokens, after a softmax."""
    query, key = np.mgrid[0:12, 0:12]
    scores = [
        -abs(query - key) / 1.5,
        -abs(query - key - 3) / 2,
        -abs(11 - query - key),
    ]
    heads = np.exp(np.stack([np.stack(scores), np.stack(scores[::-1])]))
    return (0.1 + 0.9 * heads).astype(np.float32)


def words() -> np.ndarray:
    """The index of each word in the vocabulary."""
    vocabulary = list(dict.fromkeys(WORDS))
    return np.array([vocabulary.index(word) for word in WORDS])


def table() -> np.ndarray:
    """A vector for each word, followed by that of the unknown token."""
    numbers = np.random.default_rng(3).uniform(0.2, 1.0, (UNKNOWN + 1, 7))
    numbers[-1] = 0.08
    return numbers.astype(np.float32)


def weights() -> np.ndarray:
    """A matrix of positive and negative numbers, none of them small."""
    generator = np.random.default_rng(8)
    numbers = generator.uniform(0.35, 1.0, (12, 18)) * generator.choice(
        [-1, 1], (12, 18)
    )
    return numbers.astype(np.float32)


@dataclass(frozen=True)
class Panel:
    """A method, its note, the subject after it, and its keep mask."""

    name: str
    note: str
    subject: str
    values: np.ndarray
    mask: np.ndarray
    fill: str = DROPPED
    labels: tuple[str, ...] = ()


def on_maps(
    name: str,
    note: str,
    seed: int,
    fill: str = DROPPED,
    rate: float = RATE,
    **options: object,
) -> Panel:
    """The feature maps under a function that has a mask function."""
    x, key = jnp.asarray(feature_maps()), jax.random.key(seed)
    y = getattr(dj, name)(key, x, rate, **options)
    mask = getattr(dj, f"{name}_mask")(key, x.shape, rate, **options)
    return Panel(name, note, MAPS, np.asarray(y), np.broadcast_to(mask, x.shape), fill)


def on_words(
    name: str, note: str, seed: int, rate: float = RATE, **options: object
) -> Panel:
    """The looked-up sentence, (steps, features), under a function."""
    x, key = jnp.asarray(table()[words()]), jax.random.key(seed)
    y = getattr(dj, name)(key, x, rate, **options)
    mask = getattr(dj, f"{name}_mask")(key, x.shape, rate, **options)
    return Panel(
        name,
        note,
        SENTENCE,
        np.asarray(y),
        np.broadcast_to(mask, x.shape),
        labels=tuple(WORDS),
    )


def all_kept(name: str, note: str, subject: str, values: np.ndarray) -> Panel:
    """A panel in which nothing is drawn as dropped."""
    labels = tuple(WORDS) if subject == SENTENCE else ()
    return Panel(
        name, note, subject, values, np.ones(values.shape, bool), labels=labels
    )


def on_heads(name: str, note: str, seed: int, rate: float, **options: int) -> Panel:
    """The attention under a function, with heads drawn as channels."""
    x, key = jnp.asarray(attention()), jax.random.key(seed)
    y = getattr(dj, name)(key, x, rate, **options)
    mask = getattr(dj, f"{name}_mask")(key, x.shape, rate, **options)
    kept = np.broadcast_to(mask, x.shape)
    return Panel(name, note, ATTENTION, *(np.moveaxis(a, 1, -1) for a in (y, kept)))


def states() -> Panel:
    """Each step is a state; dropped elements keep the state of the step before."""
    new, key = jnp.asarray(table()[words()]), jax.random.key(3)
    y = dj.zoneout(key, new, jnp.roll(new, 1, 0), RATE)
    mask = dj.zoneout_mask(key, new.shape, RATE)
    note = "dropped: the previous state"
    kept = np.asarray(mask)
    return Panel("zoneout", note, SENTENCE, np.asarray(y), kept, OLD, tuple(WORDS))


def noisy() -> Panel:
    """The embedded words with noise."""
    x = jnp.asarray(table()[words()])
    y = dj.neftune(jax.random.key(1), x, 4.0, batch_axis=None)
    note = "noise, less for longer sentences"
    return all_kept("neftune", note, SENTENCE, np.asarray(y))


def patches() -> Panel:
    """Dropped tokens are removed; their columns stay, for comparison."""
    x = jnp.asarray(table()[words()])
    _, indices = dj.patch_dropout(jax.random.key(2), x[None], RATE)
    kept = np.isin(np.arange(len(x)), indices)[:, None] & np.ones(x.shape, bool)
    note = "dropped tokens are removed"
    labels = tuple(WORDS)
    return Panel("patch_dropout", note, SENTENCE, np.asarray(x), kept, PAPER, labels)


def masked() -> Panel:
    """Removed tokens are replaced by the mask token of a decoder."""
    x = jnp.asarray(table()[words()])
    y, mask, _, restore = dj.random_masking(jax.random.key(1), x, 0.6)
    hidden = jnp.broadcast_to(table()[UNKNOWN], (len(x) - len(y), x.shape[1]))
    z = jnp.concatenate([y, hidden])[restore]
    kept = np.asarray(mask)[:, None] & np.ones(x.shape, bool)
    note = "removed, then a mask token"
    labels = tuple(WORDS)
    return Panel("random_masking", note, SENTENCE, np.asarray(z), kept, MARK, labels)


def all_of_maps(
    name: str, note: str, *arguments: object, seed: int = 0, **options: object
) -> Panel:
    """The feature maps under a function that has no mask."""
    x, function = jnp.asarray(feature_maps()), getattr(dj, name.split("(")[0])
    y = function(jax.random.key(seed), x, *arguments, **options)
    return all_kept(name, note, MAPS, np.asarray(y))


def some_of_maps(
    name: str, note: str, seed: int, rate: float, **options: object
) -> Panel:
    """The feature maps under a function whose mask depends on them."""
    x = jnp.asarray(feature_maps())
    y = np.asarray(getattr(dj, name)(jax.random.key(seed), x, rate, **options))
    return Panel(name, note, MAPS, y, y != 0)


def several_of_one() -> Panel:
    """Two samples of the first example."""
    x, key = jnp.asarray(feature_maps()[:1]), jax.random.key(4)
    y = np.asarray(dj.multi_sample_dropout(key, x, RATE, samples=2))[:, 0]
    return Panel(
        "multi_sample_dropout", "several masks of one example", MAPS, y, y != 0
    )


def rectified() -> Panel:
    """Values below one half become 0, unless the nonlinearity is dropped."""
    x, key = jnp.asarray(feature_maps()), jax.random.key(0)
    y = dj.drop_activation(
        key, x, RATE, activation=lambda x: jnp.where(x < 0.5, 0.0, x)
    )
    return all_kept("drop_activation", "dropped: no nonlinearity", MAPS, np.asarray(y))


def skipped() -> Panel:
    """The layer would turn the maps upside down."""
    x, key = jnp.asarray(feature_maps()), jax.random.key(2)
    y = dj.layer_drop(key, x, lambda x: x[:, ::-1], 0.5)
    return all_kept("layer_drop", "the layer is not run", MAPS, np.asarray(y))


def left_out(name: str, note: str, seed: int, **options: int) -> Panel:
    """The branch does nothing, and is computed for a subset of the maps."""
    x, key = jnp.asarray(feature_maps()), jax.random.key(seed)
    y = dj.subset_branch(key, x, lambda x: x, 0.5, **options)
    mask = dj.subset_branch_mask(key, x.shape, 0.5, **options)
    kept = np.broadcast_to(mask, x.shape)
    return Panel(name, note, MAPS, np.asarray(y), kept, PAPER)


def thinned() -> Panel:
    """The columns of an MLP's first kernel that are used, in blocks of three."""
    matrix, key = weights(), jax.random.key(5)
    options = {"rate": RATE, "block_size": 3}
    mask = dj.structured_dropout_mlp_mask(key, matrix.shape[-1:], **options)
    kept = np.broadcast_to(mask, matrix.shape)
    note = "columns of hidden units are not used"
    return Panel("structured_dropout_mlp", note, WEIGHTS, matrix, kept, PAPER)


def embedding() -> Panel:
    """The table is masked, then looked up."""
    key, vectors = jax.random.key(25), jnp.asarray(table())
    y = dj.embedding_dropout(key, vectors, RATE)[words()]
    mask = dj.embedding_dropout_mask(key, vectors.shape, RATE)[words()]
    kept = np.broadcast_to(mask, y.shape)
    note = "a word, at all its positions"
    return Panel(
        "embedding_dropout", note, SENTENCE, np.asarray(y), kept, labels=tuple(WORDS)
    )


def word() -> Panel:
    """Tokens are replaced, then looked up."""
    tokens, key = jnp.asarray(words()), jax.random.key(1)
    ids = np.asarray(dj.word_dropout(key, tokens, RATE, unknown_id=UNKNOWN))
    labels = tuple(
        "?" if token == UNKNOWN else word
        for token, word in zip(ids, WORDS, strict=True)
    )
    mask = np.asarray(dj.word_dropout_mask(key, tokens.shape, RATE))[:, None]
    y = table()[ids]
    kept = np.broadcast_to(mask, y.shape)
    note = "dropped: the unknown token"
    return Panel("word_dropout", note, SENTENCE, y, kept, MARK, labels)


def connections() -> Iterator[Panel]:
    """One mask of the weights for a batch, and masks per example."""
    matrix = jnp.asarray(weights())
    names = ["dropconnect", 'dropconnect_dense(mask_per="example")', ""]
    notes = ["a mask value per weight", "a mask per example", ""]
    keys = jax.random.split(jax.random.key(11), 3)
    for name, note, key in zip(names, notes, keys, strict=True):
        mask = np.asarray(dj.dropconnect_mask(key, matrix, RATE))
        y = np.asarray(dj.dropconnect(key, matrix, RATE))
        yield Panel(name, note, WEIGHTS, y, mask)


def conditions() -> Panel:
    """The maps are conditions, which a learned null condition replaces."""
    x, key = jnp.asarray(feature_maps()), jax.random.key(3)
    y = dj.condition_dropout(key, x, 0.5, fill=0.0)
    mask = dj.condition_dropout_mask(key, x.shape, 0.5)
    kept = np.broadcast_to(mask, x.shape)
    note = "dropped: the null condition"
    return Panel("condition_dropout", note, MAPS, np.asarray(y), kept, MARK)


def modalities() -> Panel:
    """The channels are modalities, and one of each example is kept."""
    x, key = jnp.asarray(feature_maps()), jax.random.key(2)
    channels = list(jnp.moveaxis(x, -1, 0))
    y, present = dj.modality_dropout(key, channels, 0.5)
    kept = np.stack(present, -1)[:, None, None] & np.ones(x.shape, bool)
    note = "one modality or more is kept"
    return Panel("modality_dropout", note, MAPS, np.stack(y, -1), kept)


def windows() -> Panel:
    """The kernel of a convolution, as its response to single points."""
    kernel = jnp.asarray(weights()).reshape(4, 3, 6, 3).transpose(1, 3, 0, 2)
    points = jnp.zeros((4, 3, 3, 4)).at[jnp.arange(4), 1, 1, jnp.arange(4)].set(1)
    y = dj.dropconnect_conv(jax.random.key(13), points, kernel, RATE)
    tiles = np.asarray(y)[:, ::-1, ::-1].transpose(0, 1, 3, 2).reshape(12, 18)
    note = "3 x 3 windows, masked per weight"
    return Panel("dropconnect_conv", note, WEIGHTS, tiles, tiles != 0)


def targeted() -> Panel:
    """The smaller half of each unit's weights may drop."""
    y = dj.targeted_dropout(jax.random.key(14), jnp.asarray(weights()), 0.6)
    note = "only small weights drop"
    return Panel("targeted_dropout", note, WEIGHTS, np.asarray(y), np.asarray(y != 0))


def mixed() -> Panel:
    """Dropped weights return to their values before fine-tuning."""
    matrix, key = jnp.asarray(weights()), jax.random.key(12)
    y = dj.mixout(key, matrix, jnp.zeros_like(matrix), RATE)
    note = "dropped: the pretrained weight"
    return Panel("mixout", note, WEIGHTS, np.asarray(y), np.asarray(y != 0), OLD)


def chapters() -> dict[str, list[list[Panel]]]:
    """The figure's panels, row by row, in the chapters of methods.md."""
    return {
        "Activations": [
            [
                all_kept(MAPS, "2 examples, 3 channels", MAPS, feature_maps()),
                on_maps("dropout", "a mask value per element", 0),
                several_of_one(),
                all_of_maps(
                    "concrete_dropout", "a soft mask, a learned rate", np.float32(-0.85)
                ),
                some_of_maps(
                    "max_dropout",
                    "the strongest channel of a position",
                    5,
                    0.6,
                    broadcast_dims=-1,
                ),
            ],
            [
                all_of_maps("gaussian_dropout", "noise instead of a mask", RATE),
                all_of_maps("gaussian_noise", "noise is added", 0.25, seed=1),
                on_maps("alpha_dropout", "dropped: SELU's lower limit", 0, FLOOR),
                on_maps(
                    "feature_alpha_dropout", "the same for whole channels", 9, FLOOR
                ),
                rectified(),
            ],
            [
                all_of_maps("uniform_noise", "uniform noise is added", 0.4, seed=1),
                all_of_maps(
                    "uniform_noise(multiplicative=True)",
                    "uniform factors around 1",
                    0.6,
                    multiplicative=True,
                ),
            ],
        ],
        "Feature maps and images": [
            [
                on_maps("spatial_dropout", "a mask value per channel", 9),
                on_maps("drop_block", "a mask value per block", 19, block_size=4),
                some_of_maps(
                    "weighted_channel_dropout", "weak channels drop more often", 1, 0.5
                ),
                on_maps("cutout", "one square per example", 5, rate=1.0, size=5),
                on_maps("random_erasing", "one rectangle per example", 2, rate=1.0),
            ],
        ],
        "Whole inputs: conditions and modalities": [[conditions(), modalities()]],
        "Residual branches and whole layers": [
            [
                on_maps("drop_path", "a mask value per example", 3, rate=0.5),
                all_of_maps("shake_drop", "a random factor per example", 0.5, seed=8),
                skipped(),
            ],
        ],
        "Sequences, tokens and attention": [
            [
                all_kept(
                    "a sentence", "7 features of 11 words", SENTENCE, table()[words()]
                ),
                on_words(
                    "variational_dropout", "one mask for all steps", 8, time_axis=0
                ),
                embedding(),
                word(),
                patches(),
            ],
            [
                all_kept(
                    ATTENTION,
                    "2 examples, 3 heads",
                    ATTENTION,
                    np.moveaxis(attention(), 1, -1),
                ),
                on_heads("attention_dropout", "a mask value per element", 0, RATE),
                on_heads("drop_head", "a mask value per head", 9, 0.4, head_axis=1),
                states(),
                masked(),
                noisy(),
            ],
            [
                on_words(
                    "spec_augment",
                    "spans of time, bands of frequency",
                    1,
                    rate=1.0,
                    time_masks=1,
                    time_width=4,
                    frequency_masks=1,
                    frequency_width=2,
                    batch_axis=None,
                ),
                on_words(
                    "span_dropout",
                    "spans of equal length",
                    6,
                    rate=0.4,
                    span_length=2,
                    batch_axis=None,
                ),
            ],
        ],
        "Subsets: left out instead of zeroed": [
            [
                left_out("subset_branch", "examples are not computed", 3),
                left_out("subset_branch(axis=1)", "rows are not computed", 2, axis=1),
                thinned(),
            ],
        ],
        "Weights": [
            [
                all_kept(WEIGHTS, "a matrix of 12 x 18", WEIGHTS, weights()),
                *connections(),
                windows(),
            ],
            [targeted(), mixed()],
        ],
    }


def rows() -> list[list[Panel]]:
    """The figure's panels, row by row."""
    return list(itertools.chain(*chapters().values()))


def digest(panels: list[list[Panel]]) -> str:
    """Identifies what is drawn: this file and all masks."""
    seen = hashlib.sha256(pathlib.Path(__file__).read_bytes())
    for panel in itertools.chain(*panels):
        seen.update(np.packbits(panel.mask).tobytes())
    return seen.hexdigest()


def paint(panel: Panel) -> np.ndarray:
    """The panel as an image: a square per element, with gaps between maps."""
    from matplotlib.colors import LinearSegmentedColormap

    hues = [LinearSegmentedColormap.from_list("", hue) for hue in HUES[panel.subject]]
    top = 1 / (1 - RATE)
    low = -top if panel.subject == WEIGHTS else 0.0
    shade, mask = np.clip((panel.values - low) / (top - low), 0, 1), panel.mask
    if panel.subject == SENTENCE:
        return squares(shade.T, mask.T, hues[0], panel.fill)
    if panel.subject == WEIGHTS:
        return squares(shade, mask, hues[0], panel.fill)
    gap = ((0, 16), (0, 16), (0, 0))
    maps = [
        [
            np.pad(squares(s, m, hue, panel.fill), gap, constant_values=1.0)
            for s, m, hue in zip(
                *(np.moveaxis(a, -1, 0) for a in (shades, masks)), hues, strict=True
            )
        ]
        for shades, masks in zip(shade, mask, strict=True)
    ]
    return np.vstack([np.hstack(example) for example in maps])[:-16, :-16]


def squares(
    shade: np.ndarray, mask: np.ndarray, hue: Callable, fill: str
) -> np.ndarray:
    """A color for each element, kept or dropped, in squares with thin seams."""
    from matplotlib.colors import to_rgb

    colors = np.where(mask[..., None], hue(shade)[..., :3], to_rgb(fill))
    image = np.kron(colors, np.ones((12, 12, 1)))
    image[::12] = image[:, ::12] = to_rgb(PAPER)
    return image[1:, 1:]


def below(row: list[Panel]) -> float:
    """How many inches below a row the next one is."""
    return 2.68 if any(panel.labels for panel in row) else 2.32


def draw(path: pathlib.Path) -> None:
    """Lays the panels out on a grid, in inches, from the top."""
    import matplotlib.pyplot as plt

    width, height, column, top = 2.36, 1.58, 2.62, 0.1
    high = top + sum(0.48 + sum(map(below, rows_of)) for rows_of in chapters().values())
    figure = plt.figure(figsize=(5 * column, high), facecolor=PAPER)
    for chapter, rows_of in chapters().items():
        top += 0.42
        at = ((column - width) / 2 / column / 5, 1 - top / high)
        figure.text(*at, chapter, size=14, weight="bold", color=INK, va="bottom")
        top += 0.56
        for row in rows_of:
            for place, panel in enumerate(row):
                left = place * column + (column - width) / 2
                bottom = high - top - height
                scales = (5 * column, high, 5 * column, high)
                box = np.divide((left, bottom, width, height), scales)
                axes = figure.add_axes(tuple(box))
                axes.imshow(paint(panel), aspect="auto", interpolation="none")
                axes.axis("off")
                write(axes, panel)
            top += below(row)
        top -= 0.5
    figure.savefig(
        path, dpi=150, metadata={"dropjax": digest(rows()), "Software": None}
    )
    plt.close(figure)


def write(axes: "Axes", panel: Panel) -> None:
    """Writes the name and the note above the panel, and the words below it."""
    title = {"transform": axes.transAxes, "ha": "left", "va": "bottom"}
    method = hasattr(dj, panel.name.split("(")[0])
    font = {"family": "monospace"} if method else {}
    axes.text(0, 1.165, panel.name, size=11, weight="bold", color=INK, **font, **title)
    axes.text(0, 1.045, panel.note, size=8.8, color=GREY, **title)
    for place, word in enumerate(panel.labels):
        lost = not panel.mask[place].any() and word != "?"
        color, where = "#b9bdc4" if lost else INK, (12 * place + 5.5, 86)
        text = axes.text(*where, word, size=8, color=color, rotation=90)
        text.set(ha="center", va="top")


if __name__ == "__main__":
    draw(OUT)
    print(f"wrote {OUT.name}")
