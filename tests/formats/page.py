"""The page docs/formats.md, made from the layouts themselves: `python -m tests.formats.page` writes it anew.

What a cell promises is the layout's own `unsupported`, and beside it stand the tests that prove it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from likewise import formats, kinds
from likewise.artifact import Artifact
from likewise.formats import Layout
from likewise.inspection import PROGRAMS
from likewise.naming.recognition import TITLES
from likewise.operations.placing import PROGRAMS as PLACES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "formats.md"
FOR = {
    "lora": ("sd", "sdxl", "sd3", "flux"),
    "lycoris": ("sd", "sdxl", "sd3", "flux"),
    "textual_inversion": ("sd", "sdxl"),
    "hypernetwork": ("sd",),
    "aesthetic": ("sd",),
    "dreambooth": ("sd", "sdxl"),
}
"""The families that people teach by a method."""
PROOFS = {
    "checkpoint": (
        "test_checkpoint.py::test_a_file_is_read_by_diffusers_to_the_same_weights",
        "test_checkpoint.py::test_a_taught_model_is_completed_from_its_base",
    ),
    "diffusers": (
        "test_diffusers.py::test_diffusers_changes_the_weights_as_the_artifact_says",
        "test_diffusers.py::test_what_diffusers_saves_is_read_with_its_scale",
    ),
    "diffusers_embedding": (
        "test_diffusers_embedding.py::test_other_programs_read_what_was_taught",
        "test_diffusers_embedding.py::test_what_diffusers_saves_is_read",
    ),
    "diffusers_folder": (
        "test_diffusers_folder.py::test_folder_to_file_to_folder_is_exact",
        "test_diffusers_folder.py::test_a_taught_model_is_written_over_a_copy_of_its_base",
    ),
    "embedding": (
        "test_embedding.py::test_other_programs_read_what_was_taught",
        "test_embedding.py::test_every_spelling_is_read",
    ),
    "embedding_card": (
        "test_embedding_card.py::test_the_web_ui_reads_what_was_taught",
        "test_embedding_card.py::test_strips_drawn_by_others_are_read",
    ),
    "kohya": (
        "test_kohya.py::test_diffusers_changes_the_weights_as_the_artifact_says",
        "test_kohya.py::test_any_lora_survives_any_layout",
    ),
    "lycoris": (
        "test_lycoris.py::test_a_file_of_lycoris_means_what_lycoris_does",
        "test_lycoris.py::test_what_is_written_is_the_same_file_again",
        "test_rows.py::test_lycoris_on_a_transformer_is_read_and_written",
    ),
    "native": (
        "test_native.py::test_everything_comes_back_exactly",
        "../contracts/test_method_contract.py::test_saved_and_restored_draws_the_same",
    ),
    "peft": (
        "test_peft.py::test_peft_changes_the_weights_as_the_artifact_says",
        "test_peft.py::test_what_peft_saves_is_read",
    ),
    "webui_aesthetic": (
        "test_webui_aesthetic.py::test_the_extension_reads_what_was_taught",
        "test_webui_aesthetic.py::test_published_shapes_are_read",
    ),
    "webui_embedding": (
        "test_webui_embedding.py::test_other_programs_read_what_was_taught",
        "test_webui_embedding.py::test_the_web_uis_own_files_are_read",
    ),
    "webui_hypernetwork": (
        "test_webui_hypernetwork.py::test_taught_ones_act_the_same_in_the_web_ui",
        "test_webui_hypernetwork.py::test_the_web_uis_files_act_as_they_do_there",
    ),
}
"""Tests by layout, writing first; files are those of tests/formats."""
HEAD = """# File layouts

Written by `python -m tests.formats.page` from the code; a test fails when this page is out of date.

`likewise convert FILE --to LAYOUT` writes any of these, and every file is recognised by what is in it, never by its
name. Whatever is written is read back and compared before it takes its place. Pickled files are read without running
anything in them. `likewise inspect FILE` says what a file is and which programs load it.

Numbers that are not finite are never written: what holds one is refused by the name of its tensor. A file that is converted
keeps the precision that it has, unless its layout's usual one (in the table) holds every number of it, or `--dtype` names
another; the table's is also what a run's files are saved as.

What a file is follows from its names, shapes, types and settings, and `inspect` and `convert` ask the same question.
A LoRA whose layers no known family has is refused, by its model's name where that can be told. PEFT's settings are
allowed by a list. Weights of 8 bits with a scale (`weight_scale`, `scale_weight`) are read as what they mean; other
quantised weights are refused.
"""
ALONG = """
`likewise convert --install` puts the last picture that a run drew, or the one that `--preview` names, beside the file as
`NAME.preview.png`, 512 pixels at most and without its metadata. For AUTOMATIC1111 and Forge a LoRA also gets `NAME.json`
with `activation text`, `sd version` and `notes`. Files that are there already stay. A base is named without its folder.
"""
BAKING = (
    ("method", "into a diffusers folder", "into a checkpoint", "as a LoRA"),
    (
        "`textual_inversion`",
        "exact: new words, or `--word` replaces some",
        "exact: `--word` replaces words of one token",
        "refused: no LoRA holds rows of a table",
    ),
    (
        "`aesthetic`",
        "for the prompts that `--prompt` names, and the negative prompt is pulled too; what is missed is said",
        "the same",
        "with `--rank`; what is missed is said",
    ),
    (
        "`hypernetwork`",
        "exact but for constants, whose share is said; with activations refused",
        "the same",
        "with `--rank`; what is lost is said",
    ),
    (
        "`lora`, `lycoris`, `dreambooth`",
        "`likewise merge --into`",
        "`likewise merge --into`",
        "`likewise convert`, `likewise extract`",
    ),
)


def page() -> str:
    """The whole text."""
    layouts = [formats.get(name) for name in formats.names()]
    rows = [
        (f"`{own.name}`", own.title, own.suffix or "a folder", own.usual, ", ".join(own.marks))
        for own in layouts
    ]
    parts = [HEAD, _table(("layout", "what it is", "ends in", "saved as", "holds"), rows), _methods(layouts)]
    return "\n".join([*parts, _readers(layouts), _places(), _baking()])


def _methods(layouts: Sequence[Layout]) -> str:
    """A table for each method: every layout, with its proof or the reason why not."""
    parts = ["## What fits where\n\nProofs are tests in `tests/formats`.\n"]
    for kind in kinds.ALL:
        rows = [(f"`{own.name}`", *_cell(own, kind.mark)) for own in layouts]
        parts.append(f"### {kind.title} (`{kind.mark}`)\n")
        parts.append(f"Usually kept as `{kind.layout}`.\n")
        parts.append(_table(("layout", "", "proved by, or why not"), rows))
    return "\n".join(parts)


def _cell(layout: Layout, method: str) -> tuple[str, str]:
    reasons = {family: layout.unsupported(_example(method, family)) for family in FOR[method]}
    fit = [TITLES[family] for family, reason in reasons.items() if reason is None]
    if not fit:
        return "refused", next(reason for reason in reasons.values() if reason)
    others = "; ".join(dict.fromkeys(reason for reason in reasons.values() if reason))
    proofs = ", ".join(f"`{proof}`" for proof in PROOFS[layout.name])
    return "reads, writes", f"{', '.join(fit)}. {proofs}" + (f". Refused: {others}" if others else "")


def _example(method: str, family: str) -> Artifact:
    """What a layout is asked about; an embedding for SDXL has vectors for both towers."""
    two = method == "textual_inversion" and family == "sdxl"
    names = ("vectors", "vectors_2") if two else ("vectors",)
    return Artifact(method, family, "", "", {name: torch.zeros(1, 1) for name in names})


def _readers(layouts: Sequence[Layout]) -> str:
    rows = []
    for own in layouts:
        programs = [*PROGRAMS, *sorted(set(own.readers) - set(PROGRAMS))]
        rows += [(f"`{own.name}`", name, own.readers.get(name, "refuses it")) for name in programs]
    told = "What differs may depend on what is in a file; of one very file `likewise inspect` tells."
    return f"## Which programs load it\n\n{told}\n\n{_table(('layout', 'program', 'how it takes it'), rows)}"


def _places() -> str:
    programs = [program.name for program in PLACES]
    rows = [
        (kind.mark, *(f"`{kind.places[name]}`" if name in kind.places else "-" for name in programs))
        for kind in kinds.ALL
    ]
    told = "## Where `likewise convert --install` puts it\n"
    return f"{told}\n{_table(('method', *programs), rows)}{ALONG}"


def _baking() -> str:
    told = "`likewise bake` is for programs that know nothing of a method."
    proofs = "Proofs are `test_baking.py` and `test_flattening.py` in `tests/operations`."
    return f"## Baking\n\n{told} {proofs}\n\n{_table(BAKING[0], BAKING[1:])}"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
