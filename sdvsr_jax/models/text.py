"""CLIP text encoder, in the parameter layout of transformers: run once, when a
checkpoint is converted.

The prompt is always empty, so its embedding is a constant that is stored with the
weights instead of the encoder.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sdvsr_jax.types import Array, Float, Int, Params

NUM_TOKENS = 77
# Numbers of the published vocabulary.
BEGIN = 49406
END = 49407
PAD = 0
EMPTY_PROMPT = np.array([[BEGIN, END] + [PAD] * (NUM_TOKENS - 2)], np.int32)
"""Tokens of an empty prompt by the published tokenizer, whose padding token is "!";
[1, 77].
"""


@dataclass(frozen=True)
class TextConfig:
    """Fields of the published `text_encoder/config.json`, by the same names."""

    vocab_size: int = 49408
    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_hidden_layers: int = 23
    num_attention_heads: int = 16
    max_position_embeddings: int = NUM_TOKENS
    layer_norm_eps: float = 1e-5
    hidden_act: str = "gelu"

    def __post_init__(self) -> None:
        if self.hidden_act != "gelu":
            raise ValueError(
                f"text encoder hidden_act {self.hidden_act!r}, expected 'gelu': this "
                "is another encoder"
            )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TextConfig":
        """Reads the published config; fields of the file that do not shape this encoder
        are ignored.
        """
        names = cls.__dataclass_fields__
        lacks = sorted(set(names) - set(data))
        if lacks:
            raise ValueError(
                f"text encoder config lacks {lacks}, expected a CLIPTextModel "
                "config.json"
            )
        fields = {name: data[name] for name in names}
        return cls(**fields)


def empty_prompt_embeds(params: Params, config: TextConfig) -> Float[Array, "1 77 c"]:
    """Embeds the empty prompt. Run eagerly: memory-mapped params are then read one
    matrix at a time.
    """
    encoder = TextEncoder(config)
    ids = jnp.asarray(EMPTY_PROMPT)
    # once per checkpoint, so precision is worth more than time
    with jax.default_matmul_precision("highest"):
        embeds = encoder.apply({"params": params}, ids)
    return jnp.asarray(embeds)


class TextEncoder(nn.Module):
    """Token ids [b, 77] to the last hidden states [b, 77, hidden_size] after the final
    norm.
    """

    config: TextConfig = TextConfig()

    def setup(self) -> None:
        self.text_model = TextModel(self.config)

    def __call__(self, ids: Int[Array, "b n"]) -> Float[Array, "b n c"]:
        return self.text_model(ids)


class TextModel(nn.Module):
    config: TextConfig

    def setup(self) -> None:
        self.embeddings = Embeddings(self.config)
        self.encoder = Layers(self.config)
        self.final_layer_norm = nn.LayerNorm(self.config.layer_norm_eps)

    def __call__(self, ids: Int[Array, "b n"]) -> Float[Array, "b n c"]:
        x = self.embeddings(ids)
        x = self.encoder(x)
        return self.final_layer_norm(x)


class Embeddings(nn.Module):
    config: TextConfig

    def setup(self) -> None:
        c = self.config
        self.token_embedding = nn.Embed(c.vocab_size, c.hidden_size)
        self.position_embedding = nn.Embed(c.max_position_embeddings, c.hidden_size)

    def __call__(self, ids: Int[Array, "b n"]) -> Float[Array, "b n c"]:
        _, length = ids.shape
        positions = jnp.arange(length)
        tokens = self.token_embedding(ids)
        places = self.position_embedding(positions)
        return tokens + places


class Layers(nn.Module):
    config: TextConfig

    def setup(self) -> None:
        numbers = range(self.config.num_hidden_layers)
        self.layers = [Layer(self.config) for _ in numbers]

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        for layer in self.layers:
            x = layer(x)
        return x


class Layer(nn.Module):
    """Pre-norm transformer layer."""

    config: TextConfig

    def setup(self) -> None:
        self.layer_norm1 = nn.LayerNorm(self.config.layer_norm_eps)
        self.self_attn = CausalAttention(self.config)
        self.layer_norm2 = nn.LayerNorm(self.config.layer_norm_eps)
        self.mlp = MLP(self.config)

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        h = self.layer_norm1(x)
        x = x + self.self_attn(h)
        h = self.layer_norm2(x)
        return x + self.mlp(h)


class CausalAttention(nn.Module):
    """Every token attends to itself and to those before it, padding included: the model
    was trained so.
    """

    config: TextConfig

    def setup(self) -> None:
        width = self.config.hidden_size
        self.q_proj = nn.Dense(width)
        self.k_proj = nn.Dense(width)
        self.v_proj = nn.Dense(width)
        self.out_proj = nn.Dense(width)

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        batch, length, _ = x.shape
        heads = (batch, length, self.config.num_attention_heads, -1)
        q = self.q_proj(x).reshape(heads)
        k = self.k_proj(x).reshape(heads)
        v = self.v_proj(x).reshape(heads)
        # no mask for the padding: the published encoder attends to it
        out = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        joined = out.reshape(x.shape)
        return self.out_proj(joined)


class MLP(nn.Module):
    config: TextConfig

    def setup(self) -> None:
        self.fc1 = nn.Dense(self.config.intermediate_size)
        self.fc2 = nn.Dense(self.config.hidden_size)

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        h = self.fc1(x)
        h = nn.gelu(h, approximate=False)
        return self.fc2(h)
