"""What the layouts of embeddings share: `vectors` [n, d] of the first text tower, `vectors_2` and `vectors_3` of others.

Nothing here opens a file. The web UI keeps the same table in a `.pt` and in a picture, so that table is here too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats._metadata import scrub
from likewise.formats.layout import Contents, Identity, Saving
from likewise.kinds import WORDS
from likewise.weights.numbers import REAL, real, rounded

if TYPE_CHECKING:
    from torch import Tensor

MOST_VECTORS, MOST_WIDTH = 256, 16_384
"""The web UI makes at most 75 vectors, and no text tower in use is wider than 4,096: more is another kind of file."""
SECOND_TOWER = 1280
"""Width of SDXL's second text tower, which no first one has."""


def embeds(shape: tuple[int, ...]) -> bool:
    """Whether a tensor of this shape can be word vectors: [d] or [n, d]."""
    return (
        len(shape) in (1, 2)
        and 0 < shape[-1] <= MOST_WIDTH
        and 0 < (shape[0] if len(shape) == 2 else 1) <= MOST_VECTORS
    )


def identify(contents: Contents, towers: Mapping[str, str]) -> Identity:
    """What a file of embeddings is, by the shapes of its tensors; `towers` gives the file's name of each of our vectors.

    Raises `FormatError` for shapes and types that no word vectors have.
    """
    for name in towers.values():
        shape, dtype = contents.shapes[name], contents.dtypes.get(name, "F32")
        if not embeds(shape):
            raise FormatError(f"{contents.path}: {name} has shape {list(shape)}, which no word vectors have")
        if dtype not in REAL:
            raise FormatError(f"{contents.path}: {name} is no tensor of real numbers but of {dtype}")
    counts = {(1, *contents.shapes[name])[-2] for name in towers.values()}
    if len(counts) > 1:
        raise FormatError(f"{contents.path} has another number of vectors for each text tower")
    wide = len(towers) == 1 and contents.shapes[next(iter(towers.values()))][-1] == SECOND_TOWER
    return Identity(WORDS, family_of({"vectors_2": ""} if wide else towers))


def as_vectors(tensor: Any, name: str, path: Path) -> Tensor:
    """[n, d] in float32; raises `FormatError` for other shapes and numbers that are not finite."""
    found = real(tensor, name, path)
    if not embeds(tuple(found.shape)):
        raise FormatError(f"{path}: {name} has shape {list(found.shape)}, which no word vectors have")
    return found.reshape(-1, found.shape[-1])


def single(tensor: Any, name: str, path: Path) -> dict[str, Tensor]:
    """Canonical tensors of a file with one tensor; its width tells which tower it is for."""
    vectors = as_vectors(tensor, name, path)
    return {"vectors_2" if vectors.shape[1] == SECOND_TOWER else "vectors": vectors}


def family_of(tensors: Collection[str]) -> str:
    """By the towers that there are vectors for; their widths tell SD 1 and 2 apart, which are one family."""
    return "sd3" if "vectors_3" in tensors else "sdxl" if "vectors_2" in tensors else "sd"


def one_tower(artifact: Artifact, title: str) -> str | None:
    """Why an embedding for several towers does not fit a layout of one tensor; None if it is for one."""
    if len(artifact.tensors) == 1:
        return None
    return f"{title} holds the numbers of one text tower, and this embedding has those of {len(artifact.tensors)}"


def entries(node: Any) -> dict[Any, Any]:
    """A pickled table as a plain one; empty for anything else. A pickle can hang its own `items` on a table."""
    return dict(dict.items(node)) if isinstance(node, dict) else {}


def web_ui_table(artifact: Artifact, path: Path, saving: Saving) -> dict[str, Any]:
    """What AUTOMATIC1111's web UI keeps of an embedding; diffusers needs the `*` and the `name`."""
    (vectors,) = artifact.tensors.values()
    steps = artifact.recipe.get("steps") if saving.metadata else None
    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": rounded(vectors, saving.torch_dtype())},
        "name": artifact.token or path.stem,
        "step": steps if isinstance(steps, int) else 0,
        "sd_checkpoint": None,
        "sd_checkpoint_name": scrub(artifact.base) if saving.metadata and artifact.base else None,
    }


def read_web_ui_table(table: Mapping[str, Any], path: Path) -> Artifact:
    """The artifact of such a table. Raises `FormatError` for none or several words."""
    words = entries(table.get("string_to_param"))
    if len(words) != 1:
        raise FormatError(f"{path} holds {len(words)} words, not one", "one file is one word")
    ((word, vectors),) = words.items()
    name, base = table.get("name"), table.get("sd_checkpoint_name")
    tensors = single(vectors, f"string_to_param.{word}", path)
    return Artifact(
        method=WORDS.mark,
        family=family_of(tensors),
        token=name if isinstance(name, str) and name.strip(" *") else path.stem,
        noun="",
        tensors=tensors,
        base=base if isinstance(base, str) else "",
    )
