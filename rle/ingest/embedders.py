"""The three kinds of text embedder, all loading from local files only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rle.ingest.text import MAX_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_WORD = re.compile(r"[a-z]+|\d+|[^\sa-z\d]")


class GloveEmbedder:
    """Mean of GloVe word vectors; 50 dimensions, thousands of texts a second, no torch.

    A text none of whose words are known is a vector of zeros.
    """

    def __init__(self, folder: Path) -> None:
        index = pq.read_table(folder / "glove_6B_index.parquet", columns=["index"])
        self._words = index["index"].combine_chunks()
        self._vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")

    def embed(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return float16 [len(texts), 50]."""
        words = [_WORD.findall(text[:MAX_CHARACTERS].lower()) for text in texts]
        owner = np.repeat(np.arange(len(texts)), [len(w) for w in words])
        flat = pa.array([word for text in words for word in text], pa.string())
        at = pc.index_in(flat, value_set=self._words).fill_null(-1).to_numpy()
        owner, at = owner[at >= 0], at[at >= 0]
        total = np.zeros((len(texts), self._vectors.shape[1]), np.float32)
        for first in range(0, at.size, 2**18):
            part = slice(first, first + 2**18)
            np.add.at(total, owner[part], self._vectors[at[part]])
        count = np.bincount(owner, minlength=len(texts)).clip(min=1)
        mean: NDArray[np.float16] = (total / count[:, None]).astype(np.float16)
        return mean


class Model2VecEmbedder:
    """A static model: a table of token vectors and their mean."""

    def __init__(self, folder: Path) -> None:
        from model2vec import StaticModel

        self._model = StaticModel.from_pretrained(str(folder))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return float16 [len(texts), dim]."""
        if not texts:
            return np.empty((0, self._model.dim), np.float16)
        cut = [text[:MAX_CHARACTERS] for text in texts]
        vectors = self._model.encode(cut, show_progress_bar=False, use_multiprocessing=False)
        # A text without a single known token comes back as NaN, which here means NULL.
        known: NDArray[np.float16] = np.nan_to_num(np.asarray(vectors)).astype(np.float16)
        return known


class TransformersEmbedder:
    """A transformer with mean pooling over its tokens. Good vectors, a hundred texts a second."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        self._model = AutoModel.from_pretrained(str(folder), local_files_only=True)
        self._model.eval().requires_grad_(requires_grad=False)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return float16 [len(texts), dim]."""
        out = np.empty((len(texts), self._model.config.hidden_size), np.float16)
        # By length, so that a batch is padded little.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for first in range(0, len(order), 64):
            part = order[first : first + 64]
            tokens = self._tokenizer(
                [texts[i][:MAX_CHARACTERS] for i in part],
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            hidden = self._model(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1)
            pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            out[part] = pooled.numpy().astype(np.float16)
        return out
