"""Pictures of a pool that grows while it is read."""

from __future__ import annotations

from pathlib import Path

import torch

from workshop.pool import Pool, shard_path


def write(folder: Path, number: int, size: int) -> None:
    """A shard whose every value is its number."""
    shapes = {"latents": (16, 8, 8), "cover": (1, 8, 8), "states": (5, 4)}
    shard = {key: torch.full((size, *shape), float(number)).half() for key, shape in shapes.items()}
    (folder / "pool").mkdir(exist_ok=True)
    torch.save({**shard, "captions": [f"{number}"] * size}, shard_path(folder, number))


def test_new_shards_are_read_when_it_looks_again(tmp_path: Path) -> None:
    write(tmp_path, 0, 3)
    write(tmp_path, 1, 5)
    pool = Pool(tmp_path, 200)
    assert pool.refresh() == 8
    write(tmp_path, 2, 4)
    lesson = pool.draw(0, torch.Generator().manual_seed(1))
    assert set(lesson.captions) == {"0", "1"}
    assert pool.refresh() == 12
    lesson = pool.draw(0, torch.Generator().manual_seed(1))
    assert set(lesson.captions) == {"0", "1", "2"}


def test_all_that_is_drawn_is_of_the_same_pictures(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, number, 4)
    lesson = Pool(tmp_path, 60).draw(0, torch.Generator().manual_seed(2))
    numbers = torch.tensor([float(caption) for caption in lesson.captions])
    for tensor, shape in ((lesson.latents, (16, 8, 8)), (lesson.cover, (1, 8, 8)), (lesson.states, (5, 4))):
        assert tensor.shape == (60, *shape)
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor.flatten(1)[:, 0], numbers)


def test_drawn_states_may_be_changed(tmp_path: Path) -> None:
    write(tmp_path, 0, 2)
    pool = Pool(tmp_path, 2)
    pool.draw(0, torch.Generator()).states.fill_(9.0)
    assert not pool.draw(0, torch.Generator()).states.any()
