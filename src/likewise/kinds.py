"""Kinds: what teaching leaves behind, and everything that is known of each kind. How it was taught is a method's business.

A method declares the kind that it leaves, and a layout the kinds that it holds. A file names its method, and `of` makes the
kind of that. So files of no method of ours (LyCORIS) have a kind as well. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

EXTENSIONS = "extensions"
"""Where web UIs keep programs that are not their own."""


@dataclass(frozen=True)
class Kind:
    """One kind of what is left behind."""

    name: str
    """As native files say it of a method that `of` does not know."""
    title: str = ""
    """What people call such a file; empty where only its method knows what it is."""
    mark: str = ""
    """The method that files of this kind name. It is a word of files: `lycoris` is no method that teaches."""
    layout: str = "native"
    """The layout that most programs take."""
    places: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Program -> the folder below its own in which it looks; programs that are not named do not draw with it."""
    delta: bool = False
    """Whether it is changes of weights, layer by layer, which can be added up and merged into a model."""
    pairs: bool = False
    """Whether every change is a low-rank pair, which a layout may scale, join and split."""
    streamed: bool = False
    """Whether its files are too large to be held in memory or to be read back after writing."""
    called: bool = False
    """Whether nothing of it shows without its token, which programs take from the file's name."""
    required: tuple[str, ...] = ()
    """Tensors that every native file holds, however it was taught."""
    modelspec: str | None = None
    """What ModelSpec appends to the architecture; None where nobody reads metadata of such files."""
    choose: str = ""
    """What speaks for it, in a sentence for people who do not know it."""
    counted: str = ""
    """The row of the survey's table that counts it; empty where none does."""


def _places(web_ui: str, comfy_ui: str) -> dict[str, str]:
    return {"AUTOMATIC1111": web_ui, "ComfyUI": comfy_ui, "Forge": web_ui}


LOW_RANK = Kind(
    "low_rank",
    "LoRA",
    "lora",
    layout="kohya",
    places=_places("models/Lora", "models/loras"),
    delta=True,
    pairs=True,
    modelspec="/lora",
    choose="A small file that goes nearly everywhere. Start here if you do not know.",
    counted="lora",
)
"""Low-rank pairs beside layers."""
LYCORIS = Kind(
    "lycoris",
    "LyCORIS",
    "lycoris",
    layout="lycoris",
    places=_places("models/Lora", "models/loras"),
    delta=True,
    modelspec="/lora",
)
"""Changes of weights in any other factorisation, or in none."""
WORDS = Kind(
    "words",
    "embedding",
    "textual_inversion",
    layout="embedding",
    places=_places("embeddings", "models/embeddings"),
    called=True,
    required=("vectors",),
    modelspec="/textual-inversion",
    choose="A new word and nothing else: the smallest file of those that learn.",
    counted="textual_inversion",
)
"""Vectors that stand for a new word."""
NETWORK = Kind(
    "network",
    "hypernetwork",
    "hypernetwork",
    layout="webui_hypernetwork",
    places=_places("models/hypernetworks", "models/hypernetworks"),
    choose="A middle way that only older programs load.",
    counted="hypernetwork",
)
"""Networks in front of keys and values."""
DIRECTION = Kind(
    "direction",
    "aesthetic embedding",
    "aesthetic",
    layout="webui_aesthetic",
    places={
        "AUTOMATIC1111": f"{EXTENSIONS}/stable-diffusion-webui-aesthetic-gradients/aesthetic_embeddings",
    },
    required=("aesthetic.mean",),
    choose="A mood that is pulled in while drawing. Nothing is learned beforehand.",
    counted="aesthetic",
)
"""A mean of picture features, towards which prompts are pulled."""
WEIGHTS = Kind(
    "weights",
    "whole model",
    "dreambooth",
    layout="checkpoint",
    places=_places("models/Stable-diffusion", "models/checkpoints"),
    streamed=True,
    modelspec="",
    choose="The closest likeness, for a file as large as the model itself.",
    counted="checkpoint_trained",
)
"""The weights themselves."""
OWN = Kind("own")
"""What only its own method understands, such as that of an outside package. Native files alone hold it."""

ALL = (LOW_RANK, LYCORIS, WORDS, NETWORK, DIRECTION, WEIGHTS)
"""The kinds that other programs know."""
USUAL = LOW_RANK
"""What is taught where nobody names a method, by the method of its mark."""
_BY_NAME = {kind.name: kind for kind in (*ALL, OWN)}
_BY_MARK = {kind.mark: kind for kind in ALL}


def of(method: str) -> Kind:
    """The kind of a file that names `method` and says no more; `OWN` where that is the mark of none."""
    return _BY_MARK.get(method, OWN)


def named(name: str) -> Kind | None:
    """The kind of that name; None where it is not known here."""
    return _BY_NAME.get(name)
