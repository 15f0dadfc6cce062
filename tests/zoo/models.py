"""Small models, whose trees of parameters are named as those of large ones."""

import functools
import importlib
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

KEY = jax.random.key(0)
IMAGE = jnp.ones((1, 8, 8, 3))
TOKENS = jnp.zeros((1, 6), int)
SEQUENCE = jnp.ones((1, 6, 8))


# flax Linen


class LinenCnn(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3))(x))
        x = nn.Conv(4, (3, 3), feature_group_count=4)(x)
        x = nn.ConvTranspose(4, (2, 2), strides=(2, 2))(x)
        x = nn.PReLU()(x).reshape(x.shape[0], -1)
        return nn.Dense(10)(nn.Dense(1)(x))


class LinenResNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (7, 7), use_bias=False, name="conv_init")(x)
        x = nn.BatchNorm(use_running_average=True, name="bn_init")(x)
        for _ in range(2):
            y = nn.Conv(8, (3, 3), use_bias=False)(x)
            y = nn.GroupNorm(num_groups=2)(y)
            x = x + nn.BatchNorm(use_running_average=True)(y)
        return nn.Dense(10)(x.mean((1, 2)))


class LinenBlock(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(2, normalize_qk=True)(y)
        y = nn.Dense(16)(nn.RMSNorm()(x))
        scale = self.param("layer_scale", nn.initializers.ones, x.shape[-1:])
        return x + scale[None, None] * nn.Dense(x.shape[-1], use_bias=False)(y)


class LinenTransformer(nn.Module):
    scanned: bool = False

    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(20, 8)(tokens)
        x = x + self.param("pos_embedding", nn.initializers.ones, (1, 6, 8))
        if self.scanned:
            stack = nn.scan(
                lambda block, x, _: (block(x), None),
                {"params": 0},
                split_rngs={"params": True},
                length=3,
            )
            x, _ = stack(LinenBlock(name="layers"), x, None)
        else:
            x = LinenBlock(name="encoderblock_1")(LinenBlock()(x))
        return nn.Dense(20, name="head")(nn.LayerNorm(name="encoder_norm")(x))


class LinenViT(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (4, 4), strides=(4, 4), name="embedding")(x)
        x = x.reshape(x.shape[0], -1, 8)
        cls = self.param("cls", nn.initializers.zeros, (1, 1, 8))
        registers = self.param("register_tokens", nn.initializers.zeros, (1, 2, 8))
        x = jnp.concatenate([cls, registers, x], axis=1)
        x = x + self.param("pos", nn.initializers.zeros, (1, x.shape[1], 8))
        return nn.Dense(10, name="head")(LinenBlock()(x)[:, 0])


class LinenRecurrent(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Bidirectional(nn.RNN(nn.LSTMCell(4)), nn.RNN(nn.GRUCell(4)))(x)
        x = nn.RNN(nn.OptimizedLSTMCell(4))(x)
        return nn.RNN(nn.ConvLSTMCell(4, (3,)))(x[..., None, :])


class LinenEnsemble(nn.Module):
    @nn.compact
    def __call__(self, x):
        members = nn.vmap(
            LinenResNet,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=2,
        )
        return members()(x)


class LinenNormalized(nn.Module):
    @nn.compact
    def __call__(self, x):
        boxed = nn.with_partitioning(nn.initializers.lecun_normal(), ("in", "out"))
        x = nn.WeightNorm(nn.Dense(4, kernel_init=boxed))(x)
        x = nn.SpectralNorm(nn.Dense(4))(x, update_stats=False)
        x = nn.DenseGeneral((2, 3), name="heads")(x)
        x = nn.DenseGeneral(4, axis=(-2, -1), name="merge")(x)
        return nn.Einsum((4, 5), "...a,ab->...b")(x)


def linen(module, *args):
    return lambda: jax.eval_shape(module.init, KEY, *args)


# flax NNX


class NnxCnn(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.up = nnx.ConvTranspose(4, 4, (2, 2), rngs=rngs)
        self.heads = nnx.List(
            [nnx.Linear(4, 10, rngs=rngs), nnx.Linear(1, 4, rngs=rngs)]
        )
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.ln_1 = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.ln_2 = nnx.RMSNorm(8, rngs=rngs)
        self.mlp = nnx.Sequential(
            nnx.Linear(8, 16, rngs=rngs), nnx.gelu, nnx.Linear(16, 8, rngs=rngs)
        )


class NnxViT(nnx.Module):
    def __init__(self, rngs):
        self.patch_embeddings = nnx.Conv(3, 8, (4, 4), rngs=rngs)
        self.cls_token = nnx.Param(jnp.zeros((1, 1, 8)))
        self.position_embeddings = nnx.Param(jnp.zeros((1, 5, 8)))
        self.tokens = nnx.Embed(20, 8, rngs=rngs)
        self.blocks = nnx.List([NnxBlock(rngs), NnxBlock(rngs)])
        self.final_norm = nnx.LayerNorm(8, rngs=rngs)


class NnxStack(nnx.Module):
    def __init__(self, rngs):
        make = nnx.vmap(NnxBlock, in_axes=0, out_axes=0)
        self.blocks = make(nnx.Rngs(0).split(3))
        self.cell = nnx.RNN(nnx.LSTMCell(8, 4, rngs=rngs))
        self.other = nnx.RNN(nnx.GRUCell(4, 4, rngs=rngs))


class NnxLora(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.LoRALinear(8, 4, lora_rank=2, rngs=rngs)
        self.adapter = nnx.LoRA(
            8, 2, 4, base_module=nnx.Linear(8, 4, rngs=rngs), rngs=rngs
        )
        self.einsum = nnx.Einsum("ab,bcd->acd", (8, 2, 4), (2, 4), rngs=rngs)


def of_nnx(module):
    return lambda: nnx.eval_shape(
        lambda: nnx.state(module(nnx.Rngs(0)), nnx.Not(nnx.RngState))
    )


# haiku


def haiku(function, *args):
    def make():
        hk = importlib.import_module("haiku")
        model = hk.transform_with_state(functools.partial(function, hk))
        params, state = jax.eval_shape(model.init, KEY, *args)
        return {"params": params, "state": state} if state else params

    return make


def haiku_mlp(hk, x):
    x = hk.nets.MLP([8, 4])(x)
    x = hk.Bias()(hk.Linear(1)(x))
    return hk.Linear(4)(x)


def haiku_resnet(hk, x):
    x = hk.Conv2D(4, 7, with_bias=False, name="initial_conv")(x)
    x = hk.BatchNorm(True, True, 0.9, name="initial_batchnorm")(x, is_training=True)
    for _ in range(2):
        y = hk.Conv2D(4, 3)(hk.GroupNorm(2)(x))
        x = x + hk.BatchNorm(True, True, 0.9)(y, is_training=True)
    return hk.Linear(10, name="logits")(x.mean((1, 2)))


def haiku_block(hk, x):
    norm = functools.partial(hk.LayerNorm, -1, True, True)
    y = norm()(x)
    x = x + hk.MultiHeadAttention(2, 4, w_init_scale=1.0, model_size=8)(y, y, y)
    return x + hk.Linear(8)(hk.Linear(16, with_bias=False)(norm()(x)))


def haiku_transformer(hk, tokens, stacked=False):
    x = hk.Embed(20, 8)(tokens)
    table = hk.get_parameter("positional_embeddings", [6, 8], init=jnp.zeros)
    x = x + table
    if stacked:
        return hk.experimental.layer_stack(3)(lambda x: haiku_block(hk, x))(x)
    return haiku_block(hk, haiku_block(hk, x))


def haiku_recurrent(hk, x):
    for core in (hk.LSTM(4), hk.GRU(4), hk.VanillaRNN(4)):
        x, _ = hk.dynamic_unroll(core, x, core.initial_state(x.shape[1]))
    return hk.Conv1DTranspose(4, 3)(
        hk.InstanceNorm(True, True)(hk.DepthwiseConv1D(1, 3)(x))
    )


# equinox


def equinox(make):
    def arrays():
        eqx = importlib.import_module("equinox")
        return eqx.filter(eqx.filter_eval_shape(make, eqx, KEY), _is_array)

    return arrays


def _is_array(leaf):
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)


def equinox_mlp(eqx, key):
    return eqx.nn.MLP(1, 1, 8, 2, key=key)


def equinox_block(eqx, key):
    keys = jax.random.split(key, 3)
    return {
        "attention": eqx.nn.MultiheadAttention(2, 8, key=keys[0]),
        "mlp": eqx.nn.MLP(8, 8, 16, 1, key=keys[1]),
        "norms": [eqx.nn.LayerNorm(8), eqx.nn.RMSNorm(8, use_bias=False)],
        "ln": eqx.nn.LayerNorm(8),
        "out": eqx.nn.Linear(8, 8, use_bias=False, key=keys[2]),
    }


def equinox_stack(eqx, key):
    make = functools.partial(equinox_block, eqx)
    return {"layers": eqx.filter_vmap(make)(jax.random.split(key, 3))}


def equinox_vit(eqx, key):
    return {
        "patch_embed": eqx.nn.Conv2d(3, 8, 4, stride=4, key=key),
        "cls": jnp.zeros((1, 1, 8)),
        "pos": jnp.zeros((1, 5, 8)),
        "blocks": [equinox_block(eqx, key)],
        "head": eqx.nn.Linear(8, "scalar", key=key),
    }


def equinox_layers(eqx, key):
    return [
        eqx.nn.Embedding(20, 8, key=key),
        eqx.nn.LSTMCell(8, 4, key=key),
        eqx.nn.GRUCell(8, 4, key=key),
        eqx.nn.Conv1d(4, 4, 3, key=key),
        eqx.nn.ConvTranspose2d(4, 4, 3, key=key),
        eqx.nn.GroupNorm(2, 4),
        eqx.nn.PReLU(),
        eqx.nn.WeightNorm(eqx.nn.Linear(4, 4, key=key)),
    ]


# keras


def keras_model(make, by_path=True):
    def variables():
        keras = importlib.import_module("keras")
        keras.utils.clear_session()
        found = make(keras).trainable_variables
        shapes = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in found]
        return (
            dict(zip([v.path for v in found], shapes, strict=True))
            if by_path
            else shapes
        )

    return variables


def keras_cnn(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.SeparableConv2D(4, 3),
            layers.BatchNormalization(),
            layers.PReLU(),
            layers.DepthwiseConv2D(2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def keras_transformer(keras):
    layers = keras.layers
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8)(tokens)
    y = layers.LayerNormalization()(x)
    x = layers.MultiHeadAttention(2, 4)(y, y) + layers.EinsumDense(
        "abc,cd->abd", (6, 8)
    )(x)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    return keras.Model(tokens, layers.Dense(1)(layers.GRU(4)(x)))


def keras_perceptron(keras):
    layers = keras.layers
    return keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.Dense(1)])


# transformers


def transformers(name, config, **sizes):
    def make():
        library = importlib.import_module("transformers")
        made = getattr(library, config)(**sizes)
        with mock.patch.object(jnp, "clip", _clip):
            model = getattr(library, name)(made, _do_init=False)
            return jax.eval_shape(
                lambda key: model.init_weights(key, model.input_shape), KEY
            )

    return make


def _clip(x, *, a_max):
    """JAX's, with the name of its argument that transformers still uses."""
    return jnp.minimum(x, a_max)


SMALL = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


# Made by hand


def normal(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def gpt_by_hand():
    block = {
        "ln_1": {"g": normal(8), "b": normal(8)},
        "attn": {
            "c_attn": {"w": normal(8, 24), "b": normal(24)},
            "c_proj": {"w": normal(8, 8), "b": normal(8)},
        },
        "ln_2": {"g": normal(8), "b": normal(8)},
        "mlp": {"c_fc": {"w": normal(8, 32), "b": normal(32)}, "w2": normal(32, 8)},
    }
    return {"wte": normal(20, 8), "wpe": normal(6, 8), "blocks": [block, block]}


def llama_by_hand():
    """Stacked along the first axis, for a scan over the layers."""
    layers = {
        "attn_norm": normal(3, 8),
        "wq": normal(3, 8, 2, 4),
        "wo": normal(3, 2, 4, 8),
        "bo": normal(3, 8),
        "ffn_norm": {"weight": normal(3, 8)},
        "mlp": {"w1": normal(3, 8, 16), "b1": normal(3, 16), "W_out": normal(3, 16, 8)},
        "post": {"weight": normal(3, 8), "bias": normal(3, 8)},
        "ln_w": normal(3, 8),
        "ln_b": normal(3, 8),
        "gate_proj": {"weight": normal(3, 8, 16)},
    }
    embeddings = {"weight": normal(20, 8)}
    return {
        "tok_embeddings": embeddings,
        "layers": layers,
        "norm": {"weight": normal(8)},
        "lm_head": {"weight": normal(8, 20)},
    }


def gates_by_hand():
    gates = {f"W_{gate}": normal(4, 8) for gate in "fgiob"}
    return (
        gates
        | {f"U_{gate}": normal(8, 8) for gate in "fgio"}
        | {
            "b_f": normal(8),
            "b": normal(1, 8),
            "h0": normal(1, 8),
            "initial_state": normal(1, 1, 8),
        }
    )


def mixture_by_hand():
    return {
        "router": {"kernel": normal(8, 4), "bias": normal(4)},
        "experts": {
            "wi": normal(4, 8, 16),
            "wo": normal(4, 16, 8),
            "bias": normal(4, 8),
        },
        "A_log": normal(16, 8),
        "dt_bias": normal(3, 16),
        "in_proj": normal(8, 16),
        "log_std": normal(1, 4),
        "codebook": normal(32, 8),
        "latents": normal(5, 8),
        "scale_shift_table": normal(6, 8),
        "rel_pos_h": normal(15, 8),
        "relative_position_bias_table": normal(9, 2),
        "count": jax.ShapeDtypeStruct((2, 3), jnp.int32),
    }


def lora_by_hand():
    return {
        "base": {"q": {"kernel": normal(8, 8)}},
        "lora": {"q": {"A": normal(8, 2), "B": normal(2, 8)}},
        "v": {
            "kernel": normal(8, 8),
            "kernel_lora_a": normal(8, 2),
            "kernel_lora_b": normal(2, 8),
        },
        "o": {"lora_A": {"kernel": normal(8, 2)}, "lora_B": {"kernel": normal(2, 8)}},
        "LoRADense_0": {
            "kernel": normal(8, 4),
            "lora_down": normal(8, 2),
            "lora_up": normal(2, 4),
        },
    }


def pairs_by_hand():
    return [(normal(12, 8), normal(8)), (normal(8, 4), normal(4))]


def statistics_by_hand():
    """Of stacked layers, as flax and haiku keep them."""
    batch = {"mean": normal(3, 8), "var": normal(3, 8)}
    average = {"average": normal(3, 1, 8), "hidden": normal(3, 1, 8)}
    return {
        "batch_stats": {"BatchNorm_0": batch, "other": {"seen": normal(3, 8)}},
        "state": {"batch_norm/~/mean_ema": average},
        "params": {"Dense_0": {"kernel": normal(3, 8, 4)}},
    }


def weights_and_biases():
    return [
        {"weights": normal(12, 8), "biases": normal(8)},
        {"W": normal(8, 1), "b": normal(1)},
    ]


MODELS = {
    "flax Linen: CNN": linen(LinenCnn(), IMAGE),
    "flax Linen: ResNet with batch statistics": linen(LinenResNet(), IMAGE),
    "flax Linen: transformer": linen(LinenTransformer(), TOKENS),
    "flax Linen: transformer with scanned layers": linen(
        LinenTransformer(True), TOKENS
    ),
    "flax Linen: vision transformer": linen(LinenViT(), IMAGE),
    "flax Linen: recurrent nets": linen(LinenRecurrent(), SEQUENCE),
    "flax Linen: ensemble of ResNets": linen(LinenEnsemble(), IMAGE),
    "flax Linen: normalized, boxed and general weights": linen(
        LinenNormalized(), SEQUENCE
    ),
    "flax NNX: CNN": of_nnx(NnxCnn),
    "flax NNX: vision transformer": of_nnx(NnxViT),
    "flax NNX: stacked blocks and recurrent nets": of_nnx(NnxStack),
    "flax NNX: LoRA": of_nnx(NnxLora),
    "haiku: MLP": haiku(haiku_mlp, SEQUENCE[0]),
    "haiku: ResNet": haiku(haiku_resnet, IMAGE),
    "haiku: transformer": haiku(haiku_transformer, TOKENS),
    "haiku: transformer in a layer stack": haiku(
        functools.partial(haiku_transformer, stacked=True), TOKENS
    ),
    "haiku: recurrent nets": haiku(haiku_recurrent, SEQUENCE),
    "equinox: MLP": equinox(equinox_mlp),
    "equinox: stacked blocks": equinox(equinox_stack),
    "equinox: vision transformer": equinox(equinox_vit),
    "equinox: a list of layers": equinox(equinox_layers),
    "keras: CNN, by path": keras_model(keras_cnn),
    "keras: transformer and recurrent nets, by path": keras_model(keras_transformer),
    "keras: perceptron, as a list": keras_model(keras_perceptron, by_path=False),
    "transformers: BERT": transformers("FlaxBertForPreTraining", "BertConfig", **SMALL),
    "transformers: T5": transformers(
        "FlaxT5ForConditionalGeneration",
        "T5Config",
        vocab_size=20,
        d_model=8,
        d_kv=4,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
    ),
    "transformers: GPT-2": transformers(
        "FlaxGPT2LMHeadModel",
        "GPT2Config",
        vocab_size=20,
        n_embd=8,
        n_layer=1,
        n_head=2,
        n_positions=8,
    ),
    "transformers: ViT": transformers(
        "FlaxViTForImageClassification",
        "ViTConfig",
        image_size=8,
        patch_size=4,
        **{k: v for k, v in SMALL.items() if k != "vocab_size"},
    ),
    "transformers: BART": transformers(
        "FlaxBartForConditionalGeneration",
        "BartConfig",
        vocab_size=20,
        d_model=8,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=8,
    ),
    "transformers: BEiT": transformers(
        "FlaxBeitForImageClassification",
        "BeitConfig",
        image_size=8,
        patch_size=4,
        use_relative_position_bias=True,
        use_mask_token=True,
        **SMALL,
    ),
    "transformers: Wav2Vec2": transformers(
        "FlaxWav2Vec2ForCTC",
        "Wav2Vec2Config",
        conv_dim=(8, 8),
        conv_kernel=(10, 3),
        conv_stride=(5, 2),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        mask_time_prob=0.5,
        **SMALL,
    ),
    "transformers: LLaMA": transformers("FlaxLlamaForCausalLM", "LlamaConfig", **SMALL),
    "by hand: GPT-2": gpt_by_hand,
    "by hand: LLaMA, stacked": llama_by_hand,
    "by hand: LSTM": gates_by_hand,
    "by hand: mixtures, state spaces and tables": mixture_by_hand,
    "by hand: LoRA": lora_by_hand,
    "by hand: statistics of stacked layers": statistics_by_hand,
    "by hand: pairs": pairs_by_hand,
    "by hand: weights and biases": weights_and_biases,
}
