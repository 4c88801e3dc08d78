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
BEGIN, END, PAD = 49406, 49407, 0
EMPTY_PROMPT = np.array([[BEGIN, END] + [PAD] * (NUM_TOKENS - 2)], np.int32)
"""What the published tokenizer, whose padding token is "!", makes of an empty prompt;
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
                f"text encoder hidden_act {self.hidden_act!r}, expected 'gelu': this is another encoder"
            )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TextConfig":
        """Read the published config; fields of the file that do not shape this encoder
        are ignored.
        """
        if missing := sorted(set(cls.__dataclass_fields__) - set(data)):
            raise ValueError(
                f"text encoder config lacks {missing}, expected a CLIPTextModel config.json"
            )
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


def empty_prompt_embeds(params: Params, config: TextConfig) -> Float[Array, "1 77 c"]:
    """Embed the empty prompt. Run eagerly: memory-mapped params are then read one
    matrix at a time.
    """
    with jax.default_matmul_precision("highest"):
        return jnp.asarray(
            TextEncoder(config).apply({"params": params}, jnp.asarray(EMPTY_PROMPT))
        )


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
        return self.final_layer_norm(self.encoder(self.embeddings(ids)))


class Embeddings(nn.Module):
    config: TextConfig

    def setup(self) -> None:
        self.token_embedding = nn.Embed(self.config.vocab_size, self.config.hidden_size)
        self.position_embedding = nn.Embed(
            self.config.max_position_embeddings, self.config.hidden_size
        )

    def __call__(self, ids: Int[Array, "b n"]) -> Float[Array, "b n c"]:
        return self.token_embedding(ids) + self.position_embedding(
            jnp.arange(ids.shape[1])
        )


class Layers(nn.Module):
    config: TextConfig

    def setup(self) -> None:
        self.layers = [Layer(self.config) for _ in range(self.config.num_hidden_layers)]

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
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CausalAttention(nn.Module):
    """Every token attends to itself and to those before it, padding included: the model
    was trained so.
    """

    config: TextConfig

    def setup(self) -> None:
        width = self.config.hidden_size
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            nn.Dense(width) for _ in range(4)
        )

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        heads = (*x.shape[:2], self.config.num_attention_heads, -1)
        q, k, v = (
            project(x).reshape(heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(
            jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape)
        )


class MLP(nn.Module):
    config: TextConfig

    def setup(self) -> None:
        self.fc1 = nn.Dense(self.config.intermediate_size)
        self.fc2 = nn.Dense(self.config.hidden_size)

    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        return self.fc2(nn.gelu(self.fc1(x), approximate=False))
