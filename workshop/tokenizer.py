"""Step 4: the byte-pair vocabulary of the text tower, in CLIP's own format.

Every caption word is one token, and so are eight rare words that no caption uses; the remaining
entries come from emoji names and tags, so that ordinary prompts split into few pieces.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from workshop import world
from workshop.common import options, settle
from workshop.fetch import obtain, sources

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 48
COMMON = """the of and to in is that it for was on are as with his they at be this from have or by one had not but what
all were when we there can an your which their said if do will each about how up out them then she many some so these would
other into has more her two like him see time could no make than first been its who now people my made over did down only way
find use may water long little very after words called just where most know get through back much before go good new write our
me man too any day same right look think also around another came come work three word must because does part even place well
such here take why things help put years different away again off went old number great tell men say small every found still
between name should mr home big give air line set own under read last never us left end along while might next sound below saw
something thought both few those always looked show large often together asked house don world going want school important
until form food keep children feet land side without boy once animals life enough took sometimes four head above kind began
almost live page got earth need far hand high year mother light parts country father let night following picture being study
second eyes soon times story boys since white days ever paper hard near sentence better best across during today others however
sure means knew its try told young miles sun ways thing whole hear example heard several change answer room sea against top
turned learn point city play toward five using himself usually photo photograph painting drawing sketch art style render cute
beautiful wearing sitting standing playing running sleeping holding eating flying swimming inside outside front behind happy sad
angry tiny huge giant wooden golden silver shiny brown dark bright colourful colorful background simple cartoon emoji icon
picture image portrait closeup watercolor pixel oil sunset sunrise morning evening winter summer spring autumn rain sky cloud
river lake sea ocean field grass park street kitchen bedroom table window door wall floor"""


def caption_words(known: world.World) -> set[str]:
    """Every word that a caption of a world can hold."""
    words = {
        "a",
        "an",
        "small",
        "on",
        "background",
        "style",
        ",",
        *world.NUMBERS,
        *world.COLOURS,
        *world.DESIGNS,
    }
    for phrase in world.SCENES.values():
        words |= set(phrase.split())
    for thing in known.things:
        words |= {thing.name, thing.many(), *thing.also}
    return words


def other_words(limit: int) -> list[str]:
    """Frequent words of emoji names and tags, and common English ones."""
    row = next(r for r in sources() if r["form"] == "names")
    with tarfile.open(obtain(row)) as tar:
        rows = json.load(tar.extractfile("package/en/data.json"))
    counts = Counter(
        w
        for r in rows
        for text in (r["label"], *r.get("tags", ()))
        for w in text.lower().split()
        if w.isalpha() and w.isascii()
    )
    return [*COMMON.split(), *(w for w, _ in counts.most_common(limit))]


def learn(words: list[str]) -> Tokenizer:
    """Merge until each word is whole."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    split = Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(split, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    return tokenizer


def write(folder: Path, words: list[str]) -> None:
    """vocab.json, merges.txt and tokenizer.json, readable by CLIPTokenizer."""
    merges = [tuple(m) for m in json.loads(learn(words).to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(c + "</w>" for c in alphabet), *("".join(m) for m in merges), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def check(folder: Path, whole: set[str]) -> CLIPTokenizer:
    """Load it back; every word of ``whole`` must be one token."""
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    for word in sorted(whole):
        ids = tokenizer(word).input_ids
        if len(ids) != 3:
            raise SystemExit(f"{word!r} is {tokenizer.convert_ids_to_tokens(ids)}")
    return tokenizer


def main(argv: list[str] | None = None) -> None:
    args = settle(options(__doc__, smoke="caption words only"), argv)
    folder = args.folder / "tokenizer"
    folder.mkdir(exist_ok=True)
    whole = caption_words(args.world) | set(world.RARE)
    extra = [] if args.smoke else other_words(1500)
    write(folder, sorted(whole | set(extra)))
    tokenizer = check(folder, whole)
    print(
        len(tokenizer),
        tokenizer.convert_ids_to_tokens(
            tokenizer("A photo of two sks cats, wearing a sombrero; noto style").input_ids
        ),
    )


if __name__ == "__main__":
    main()
