"""Hashes of files, each against its rule spelled out in plain Python."""

import hashlib

import pytest
import torch
from safetensors.torch import save, save_file

from likewise.errors import FormatError
from likewise.formats._hashes import embedding_checksum, hash_file, legacy_hash, payload_sha256


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def large() -> dict[str, torch.Tensor]:
    """1.4 MB, so that the slice between 1 MiB and 1 MiB + 64 KiB lies inside."""
    generator = torch.Generator().manual_seed(3)
    return {
        "b": torch.randn(600, 580, generator=generator),
        "a": torch.randn(11, generator=generator).half(),
    }


def test_all_hashes_of_a_safetensors_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(large(), path, {"note": "x" * 5000})
    data = path.read_bytes()
    found = hash_file(path)
    assert found.sha256 == sha(data)
    assert found.auto_v1 == sha(data[0x100000:0x110000])[:8]
    assert found.payload == sha(data[8 + int.from_bytes(data[:8], "little") :])
    assert (found.auto_v2, found.embedding, found.lora) == (
        sha(data)[:10],
        sha(data)[:12],
        found.payload[:12],
    )


def test_small_files_have_the_hash_of_nothing_as_their_first_one(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"short")
    found = hash_file(tmp_path / "a.pt")
    assert found.auto_v1 == "e3b0c442"
    assert found.payload == found.lora == ""


def test_metadata_changes_the_files_hash_but_not_its_payloads(tmp_path):
    for name, facts in (("a", {"modelspec.title": "one"}), ("b", {"modelspec.title": "another one"})):
        save_file(large(), tmp_path / name, facts)
    one, other = hash_file(tmp_path / "a"), hash_file(tmp_path / "b")
    assert one.sha256 != other.sha256
    assert one.payload == other.payload == payload_sha256(large())


@pytest.mark.parametrize("facts", [{}, {"ss_network_dim": "8", "ss_output_name": 'h\u00f6he "\u20ac\n'}])
def test_the_legacy_hash_is_of_a_file_with_its_own_metadata_only(facts):
    """kohya's rule: serialise with `ss_*` alone, then the slice of that."""
    data = save(large(), facts or None)
    assert legacy_hash(large(), {**facts, "modelspec.title": "later"}) == sha(data[0x100000:0x110000])[:8]


def test_the_checksum_of_an_embedding():
    """r = r * 281 xor int(100 v) * 997, modulo 2 ** 32; the low 16 bits."""
    vectors = torch.tensor([[0.25, -0.126], [3.999, -12.0]])
    rolled = 0
    for hundredths in (25, -12, 399, -1200):
        rolled = ((rolled * 281) ^ (hundredths * 997)) % 2**32
    assert embedding_checksum(vectors) == f"{rolled % 2**16:04x}"


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(FormatError, match=r"nothing\.pt cannot be read"):
        hash_file(tmp_path / "nothing.pt")
