"""Models of Hugging Face's transformers, from configurations and with random weights.

All dropouts of the configurations have one rate. The last versions with Flax models,
4.x, import with every version of JAX that dropjax supports, and run except for T5,
which calls `jax.numpy.clip` with an argument that JAX has removed since.
"""

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias
from unittest import mock

import jax
import jax.numpy as jnp

from sidebyside.contenders import RATE

Batch: TypeAlias = dict[str, jax.Array]
_BINS, _PATCH, _CLASSES = 80, 8, 10


class Size(NamedTuple):
    """Of every model; `layers` are those of an encoder and of a decoder each."""

    batch: int = 8
    length: int = 128
    width: int = 256
    heads: int = 4
    layers: int = 2
    vocabulary: int = 1024


def make(name: str, size: Size) -> tuple[Any, Any, Batch]:
    """A model, its parameters and a batch.

    Args:
      name: one of `NAMES`.
      size: the size of the model and the batch.
    """
    import transformers

    transformers.logging.set_verbosity_error()  # It warns that version 5 has no Flax.
    model, batch = _MODELS[name](transformers, size)
    with clip_takes_a_max():
        init = functools.partial(model.init_weights, input_shape=model.input_shape)
        return model, jax.jit(init)(jax.random.key(0)), batch


@contextlib.contextmanager
def clip_takes_a_max() -> Any:
    """Lets `jax.numpy.clip` take the bound that T5 gives it by its former name."""
    clip = jnp.clip

    def renamed(x: jax.Array, *bounds: Any, a_max: Any = None, **named: Any) -> Any:
        if a_max is not None:
            named["max"] = a_max
        return clip(x, *bounds, **named)

    with mock.patch.object(jnp, "clip", renamed):
        yield


def _bert(transformers: Any, size: Size) -> tuple[Any, Batch]:
    config = transformers.BertConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        max_position_embeddings=size.length,
        hidden_dropout_prob=RATE,
        attention_probs_dropout_prob=RATE,
    )
    model = transformers.FlaxBertForMaskedLM(config, _do_init=False)
    return model, {"input_ids": _tokens(size)}


def _gpt2(transformers: Any, size: Size) -> tuple[Any, Batch]:
    config = transformers.GPT2Config(
        vocab_size=size.vocabulary,
        n_positions=size.length,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.heads,
        resid_pdrop=RATE,
        embd_pdrop=RATE,
        attn_pdrop=RATE,
    )
    model = transformers.FlaxGPT2LMHeadModel(config, _do_init=False)
    return model, {"input_ids": _tokens(size)}


def _vit(transformers: Any, size: Size) -> tuple[Any, Batch]:
    side = _PATCH * math.isqrt(size.length)
    config = transformers.ViTConfig(
        image_size=side,
        patch_size=_PATCH,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        hidden_dropout_prob=RATE,
        attention_probs_dropout_prob=RATE,
        num_labels=_CLASSES,
    )
    model = transformers.FlaxViTForImageClassification(config, _do_init=False)
    return model, {"pixel_values": _noise(size.batch, 3, side, side)}


def _t5(transformers: Any, size: Size) -> tuple[Any, Batch]:
    config = transformers.T5Config(
        vocab_size=size.vocabulary,
        d_model=size.width,
        d_kv=size.width // size.heads,
        d_ff=4 * size.width,
        num_layers=size.layers,
        num_heads=size.heads,
        dropout_rate=RATE,
        decoder_start_token_id=0,
    )
    with clip_takes_a_max():
        model = transformers.FlaxT5ForConditionalGeneration(config, _do_init=False)
    tokens = _tokens(size)
    return model, {"input_ids": tokens, "decoder_input_ids": tokens}


def _bart(transformers: Any, size: Size) -> tuple[Any, Batch]:
    config = transformers.BartConfig(
        vocab_size=size.vocabulary,
        max_position_embeddings=size.length,
        **_encoder_and_decoder(size),
    )
    kind = transformers.FlaxBartForConditionalGeneration
    tokens = _tokens(size)
    batch = {"input_ids": tokens, "decoder_input_ids": tokens}
    return kind(config, _do_init=False), batch


def _whisper(transformers: Any, size: Size) -> tuple[Any, Batch]:
    frames = 2 * size.length  # Its second convolution has a stride of two.
    special = ("pad", "bos", "eos", "decoder_start")
    config = transformers.WhisperConfig(
        vocab_size=size.vocabulary,
        num_mel_bins=_BINS,
        max_source_positions=size.length,
        max_target_positions=size.length,
        **_encoder_and_decoder(size),
        **{f"{token}_token_id": 0 for token in special},
    )
    kind = transformers.FlaxWhisperForConditionalGeneration
    model = kind(config, input_shape=(1, _BINS, frames), _do_init=False)
    features = _noise(size.batch, _BINS, frames)
    return model, {"input_features": features, "decoder_input_ids": _tokens(size)}


def _encoder_and_decoder(size: Size) -> dict[str, Any]:
    """What BART's configuration and Whisper's have in common."""
    parts = {}
    for part in ("encoder", "decoder"):
        parts[f"{part}_layers"] = size.layers
        parts[f"{part}_attention_heads"] = size.heads
        parts[f"{part}_ffn_dim"] = 4 * size.width
    rates = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), RATE)
    return {"d_model": size.width, **parts, **rates}


def _tokens(size: Size) -> jax.Array:
    shape = size.batch, size.length
    return jax.random.randint(jax.random.key(1), shape, 1, size.vocabulary)


def _noise(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), shape)


_MODELS: dict[str, Callable[[Any, Size], tuple[Any, Batch]]] = {
    "BERT": _bert,
    "GPT-2": _gpt2,
    "ViT": _vit,
    "T5": _t5,
    "BART": _bart,
    "Whisper": _whisper,
}
NAMES = tuple(_MODELS)
