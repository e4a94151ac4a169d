"""OpenCLIP, whose names single files of SD 2 and XL have, reads the text towers that are written into them.

It needs a torchvision that fits torch, so it is no part of the dev extra.
"""

from pathlib import Path

import pytest
import torch

from likewise.checkpoints import open_checkpoint
from likewise.formats import Saving
from likewise.naming.single_file import TOWERS
from likewise.operations.subjects import write_subject
from likewise.weights import read_tensors
from tests.formats import whole_models

transformer = pytest.importorskip("open_clip.transformer", reason="pip install open_clip_torch")


@pytest.mark.parametrize("version", ["sd2", "sdxl"])
def test_open_clip_reads_the_same_words_from_a_single_file(version: str, tmp_path: Path) -> None:
    pipe = whole_models.pipeline(version)
    pipe.save_pretrained(tmp_path / "folder")
    theirs, part = (pipe.text_encoder_2, "text_2") if version == "sdxl" else (pipe.text_encoder, "text")
    file = write_subject(
        open_checkpoint(tmp_path / "folder"), tmp_path / "x.safetensors", "checkpoint", Saving("float32")
    )
    prefix = TOWERS[version][part]
    own = {n.removeprefix(prefix): t for n, t in read_tensors(file).items() if n.startswith(prefix)}
    count, width = len({name.split(".")[2] for name in own if "resblocks" in name}), theirs.config.hidden_size
    tower = transformer.TextTransformer(
        context_length=77, vocab_size=theirs.config.vocab_size, width=width, heads=width // 64, layers=count,
        mlp_ratio=theirs.config.intermediate_size / width, output_dim=width,
    )  # fmt: skip
    missing, strange = tower.load_state_dict(own, strict=False)
    assert not strange
    assert set(missing) <= ({"text_projection", "attn_mask"} if version == "sd2" else {"attn_mask"})
    words = torch.full((1, 77), theirs.config.pad_token_id)
    words[0, :5] = torch.tensor([theirs.config.bos_token_id, 5, 7, 9, theirs.config.eos_token_id])
    with torch.no_grad():
        wanted = theirs.eval()(words, output_hidden_states=True)
        found = tower.eval().forward_intermediates(
            words, indices=count, normalize_intermediates=version == "sd2", output_fmt="NLC"
        )
    states = wanted.last_hidden_state if version == "sd2" else wanted.hidden_states[-2]
    assert torch.allclose(found["text_intermediates"][-2], states, atol=1e-5, rtol=1e-5)
    if version == "sdxl":
        assert torch.allclose(found["text_features"], wanted.text_embeds, atol=1e-5, rtol=1e-5)
