"""What files say of themselves: the words that other programs look for, their hashes, and nobody's name."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from likewise.artifact import Artifact
from likewise.formats import Saving
from likewise.formats._metadata import base_of, describe, noun_of, scrub, seal, token_of, trigger_words

LAYER = "backbone.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"


def lora(width: int = 768, ranks: tuple[int, ...] = (4, 4), **changes) -> Artifact:
    tensors = {}
    for n, rank in enumerate(ranks):
        path = f"{LAYER}.{n}" if n else LAYER
        tensors |= {f"{path}.down": torch.rand(rank, width), f"{path}.up": torch.rand(9, rank)}
        tensors[f"{path}.alpha"] = torch.tensor(2.0)
    options = {
        "method": "lora", "family": "sd", "token": "sks", "noun": "dog", "tensors": tensors,
        "recipe": {"rank": 4, "alpha": 2.0, "learning_rate": "1e-4:100, 1e-5", "text_rate": None, "steps": 500,
                   "seed": 7, "optimizer": "adamw", "schedule": "constant", "resolution": None, "prior": "none"},
        "base": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    }  # fmt: skip
    return Artifact(**{**options, **changes})


def test_a_lora_has_what_kohya_and_the_web_ui_look_for():
    facts = describe(lora(), Saving(title="my dog"), kohya=True)
    assert all(isinstance(text, str) for text in facts.values())
    assert facts["ss_v2"] == "False"
    assert facts["ss_base_model_version"] == "sd_v1"
    assert facts["ss_network_module"] == "networks.lora"
    assert (facts["ss_network_dim"], facts["ss_network_alpha"], facts["ss_network_args"]) == ("4", "2", "{}")
    assert facts["ss_output_name"] == facts["modelspec.title"] == "my dog"
    assert facts["ss_learning_rate"] == "1e-4:100, 1e-5"
    assert "ss_text_encoder_lr" not in facts
    assert json.loads(facts["ss_tag_frequency"]) == {"sks dog": {"sks dog": 1}}
    assert facts["ss_resolution"] == "(512, 512)"


def test_model_spec_has_all_that_it_must():
    facts = describe(lora(), Saving())
    assert not [key for key in facts if key.startswith(("ss_", "sshs_"))], "these are kohya's alone"
    spec = {
        key.removeprefix("modelspec."): text for key, text in facts.items() if key.startswith("modelspec.")
    }
    assert spec["sai_model_spec"] == "1.0.1"
    assert spec["architecture"] == "stable-diffusion-v1/lora"
    assert spec["implementation"] == "diffusers"
    assert spec["title"] == "sks dog"
    assert spec["resolution"] == "512x512"
    assert spec["trigger_phrase"] == "sks"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", spec["date"])


@pytest.mark.parametrize(
    ("artifact", "architecture", "version", "v2"),
    [
        (lora(1024), "stable-diffusion-v2-512/lora", "sd_v2", "True"),
        (
            lora(1024, notes={"prediction": "v_prediction"}),
            "stable-diffusion-v2-768-v/lora",
            "sd_v2_v",
            "True",
        ),
        (lora(2048, family="sdxl"), "stable-diffusion-xl-v1-base/lora", "sdxl_base_v1-0", "False"),
        (lora(64, family="flux"), "flux-1-dev/lora", "flux1", "False"),
    ],
)
def test_architectures(artifact, architecture, version, v2):
    facts = describe(artifact, Saving(), kohya=True)
    assert facts["modelspec.architecture"] == architecture
    assert (facts["ss_base_model_version"], facts["ss_v2"]) == (version, v2)


def test_an_embedding_of_sd_2_is_known_by_its_width():
    artifact = lora(method="textual_inversion", tensors={"vectors": torch.zeros(2, 1024)})
    assert (
        describe(artifact, Saving())["modelspec.architecture"] == "stable-diffusion-v2-512/textual-inversion"
    )


def test_ranks_that_differ_are_dynamic_and_convolutions_have_their_own():
    facts = describe(lora(ranks=(4, 8)), Saving(), kohya=True)
    assert facts["ss_network_dim"] == "Dynamic"
    conv = {"backbone.x.conv1.down": torch.zeros(3, 5, 3, 3), "backbone.x.conv1.up": torch.zeros(5, 3)}
    conv["backbone.x.conv1.alpha"] = torch.tensor(1.5)
    facts = describe(lora(tensors={**lora().tensors, **conv}), Saving(), kohya=True)
    assert json.loads(facts["ss_network_args"]) == {"conv_dim": "3", "conv_alpha": "1.5"}


def test_no_metadata_is_none_at_all():
    facts = describe(lora(), Saving(metadata=False), kohya=True)
    assert facts == {}
    assert seal(facts, {"x": torch.zeros(2)}) == {}


def test_hashes_are_those_of_the_written_file(tmp_path):
    tensors = {"lora_unet_x.lora_down.weight": torch.rand(4, 300000), "lora_unet_x.alpha": torch.tensor(4.0)}
    facts = seal(describe(lora(), Saving(), kohya=True), tensors)
    save_file(tensors, tmp_path / "a.safetensors", facts)
    data = (tmp_path / "a.safetensors").read_bytes()
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert facts["sshs_model_hash"] == digest
    assert facts["modelspec.hash_sha256"] == f"0x{digest}"
    assert re.fullmatch(r"[0-9a-f]{8}", facts["sshs_legacy_hash"])
    assert "sshs_model_hash" not in seal(describe(lora(), Saving()), tensors)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/alice/models/dream.safetensors", "dream.safetensors"),
        ("/home/alice smith/My Models/dream model", "dream model"),
        ("C:\\Users\\Alice\\models\\dream.ckpt", "dream.ckpt"),
        ("\\\\server\\alice\\dream", "dream"),
        ("~/models/dream", "dream"),
        ("../alice/dream", "dream"),
        ("alice/dream.safetensors", "dream.safetensors"),
        ("file:///home/alice/dream", "dream"),
        ("taught on /home/alice/base/ today", "taught on  today"),
        ('{"/home/alice/10_sks": 3}', '{"10_sks": 3}'),
        ("runwayml/stable-diffusion-v1-5", "runwayml/stable-diffusion-v1-5"),
        (
            "https://github.com/Stability-AI/generative-models",
            "https://github.com/Stability-AI/generative-models",
        ),
        ("a dog and/or a cat, 3/4 view", "a dog and/or a cat, 3/4 view"),
    ],
)
def test_paths_are_cut_down_to_what_says_nothing_of_a_person(text, kept):
    assert scrub(text) == kept


def test_a_base_on_somebodys_disk_is_named_without_the_way_to_it():
    facts = describe(lora(base="/home/alice/models/dream.safetensors"), Saving(title="~/out/dog"), kohya=True)
    assert "alice" not in json.dumps(facts)
    assert base_of(facts) == "dream.safetensors"


def test_what_was_written_is_read_back():
    facts = describe(lora(), Saving(), kohya=True)
    assert token_of(facts, Path("file.safetensors")) == "sks"
    assert noun_of(facts) == "dog"
    assert base_of(facts) == "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"modelspec.trigger_phrase": "sks dog, photo"}, ["sks dog", "photo"]),
        ({"ss_tag_frequency": '{"10_sks": {"sks dog": 12, "grass": 3}, "5_b": {"sks dog": 1}}'}, ["sks dog"]),
        ({"ss_tag_frequency": "{broken"}, []),
        ({"ss_tag_frequency": '[1, {"a": 2}]'}, []),
        ({"ss_tag_frequency": '{"a": {"b": "many"}}'}, []),
        ({}, []),
    ],
)
def test_trigger_words_of_other_trainers(facts, words):
    assert trigger_words(facts) == words
    assert token_of(facts, Path("folder/stem.safetensors")) == (words[0].split()[0] if words else "stem")
