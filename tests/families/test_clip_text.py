"""CLIP's text encoder and tokenizer against those of transformers: the same numbers to the last bit."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from transformers import CLIPTextConfig as TheirConfig
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from likewise.checkpoints.tokenizer import complete_tokenizer, teach_words
from likewise.errors import BaseError
from likewise.families import POCKET
from likewise.families._clip import plain_tokenizer
from likewise.families._clip_text import ClipText, ClipTextConfig, ClipTextProjected
from likewise.families._clip_words import read_words
from likewise.families._components import read_tokenizer

SIZES = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
         "num_attention_heads": 4, "projection_dim": 24, "bos_token_id": 97}  # fmt: skip


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("end", [98, 2])
@pytest.mark.parametrize("projected", [False, True])
def test_it_answers_as_transformers_does(activation, end, projected):
    config = {**SIZES, "hidden_act": activation, "eos_token_id": end}
    torch.manual_seed(0)
    theirs = (CLIPTextModelWithProjection if projected else CLIPTextModel)(TheirConfig(**config)).eval()
    ours = (ClipTextProjected if projected else ClipText)(ClipTextConfig.read(config))
    ours.load_state_dict(theirs.state_dict())
    ids = torch.randint(3, 97, (4, 77))
    ids[:, 40:] = 98
    one, other = ours(ids, output_hidden_states=True), theirs(ids, output_hidden_states=True)
    assert torch.equal(one.last_hidden_state, other.last_hidden_state)
    assert len(one.hidden_states) == len(other.hidden_states) == 4
    assert all(torch.equal(a, b) for a, b in zip(one.hidden_states, other.hidden_states, strict=True))
    if projected:
        assert torch.equal(one.text_embeds, other.text_embeds)
    else:
        assert torch.equal(one.pooler_output, other.pooler_output)


def test_gradients_are_those_of_transformers():
    torch.manual_seed(0)
    theirs, ours = CLIPTextModel(TheirConfig(**SIZES)).eval(), ClipText(ClipTextConfig.read(SIZES))
    ours.load_state_dict(theirs.state_dict())
    ids = torch.randint(0, 97, (2, 20))
    for model in (ours, theirs):
        model(ids).last_hidden_state.square().sum().backward()
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name


@pytest.mark.parametrize(
    ("change", "message"),
    [({"hidden_act": "swish"}, "hidden_act = 'swish'"), ({"num_attention_heads": 5}, "5 heads for 32 features"),
     ({"num_hidden_layers": "12"}, "num_hidden_layers = '12'")],
)  # fmt: skip
def test_what_is_not_clip_is_refused(change, message):
    with pytest.raises(BaseError, match=message):
        ClipTextConfig.read({**SIZES, **change})


def texts() -> list[str]:
    """Prompts, and 300 lines of letters, marks and signs from all over Unicode."""
    chance = random.Random(0)
    ranges = [
        (32, 127),
        (160, 0x250),
        (0x300, 0x340),
        (0x3040, 0x30FF),
        (0x1F300, 0x1F600),
        (32, 33),
        (10, 11),
    ]
    lines = ["".join(chr(chance.randrange(*chance.choice(ranges))) for _ in range(25)) for _ in range(300)]
    return [
        "A photo of SKS dog!",
        "it's  café",
        "<|startoftext|>a b<|endoftext|>c",
        "sks_1 a!b mysks sks",
        *lines,
    ]


def folder(kind: str, at: Path) -> Path:
    """A tokenizer as one program or another writes it."""
    if kind == "plain":
        plain_tokenizer().save_pretrained(at)
        return at
    shutil.copytree(POCKET / "tokenizer", at)
    if kind == "older":  # transformers 4: no tokenizer.json
        complete_tokenizer(at)
        (at / "tokenizer.json").unlink()
    if kind == "taught":
        config = at / "config.json"
        config.write_text("{}")
        teach_words(at, config, ["sks_1", "sks"], len(json.loads((at / "vocab.json").read_text())))
    return at


@pytest.mark.parametrize("kind", ["newer", "older", "taught", "plain"])
@pytest.mark.parametrize("pad", [None, "!"])
def test_it_reads_as_transformers_does(kind, pad, tmp_path):
    at = folder(kind, tmp_path / "tokenizer")
    options = {} if pad is None else {"pad_token": pad}
    theirs, ours = CLIPTokenizer.from_pretrained(at, **options), read_words(at, **options)
    for text in texts():
        assert ours(text)["input_ids"] == theirs(text, add_special_tokens=False)["input_ids"], text
    assert ours.get_vocab() == theirs.get_vocab()
    assert len(ours) == len(theirs)
    for special in ("bos_token", "eos_token", "pad_token", "unk_token"):
        assert getattr(ours, special) == getattr(theirs, special)
    for number in ("bos_token_id", "eos_token_id", "pad_token_id"):
        assert getattr(ours, number) == getattr(theirs, number)
    ids = ours("a photo of sks_1 dog")["input_ids"]
    assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)


def test_a_damaged_tokenizer_is_named(tmp_path):
    at = folder("older", tmp_path / "tokenizer")
    (at / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(BaseError, match="joins 'a b c', which is no pair"):
        read_tokenizer(at)
    (at / "merges.txt").write_text("#version: 0.2\nžž ßß\n")
    with pytest.raises(BaseError, match="no CLIP tokenizer in"):
        read_tokenizer(at)
