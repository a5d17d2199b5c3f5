"""Keys that secrets are sealed to: replaced while they are in use, and taken away when nothing needs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from shared.errors import Broken
from shared.sealing import KeyPair, key_id, public_key, publish_key, seal


def test_a_replaced_key_still_opens_and_the_newest_is_sealed_to(tmp_path: Path) -> None:
    file = tmp_path / "builder.key"
    running, command = KeyPair.load(file), KeyPair.load(file)
    publish_key(tmp_path / "public", "builder", command)
    first, before = running.id, seal("the token", running.public)
    newest = command.replace()
    publish_key(tmp_path / "public", "builder", command)
    assert running.id == newest != first == key_id(seal_key_of(before, first, command)), "who runs sees it"
    after = seal("the token", public_key(tmp_path / "public", "builder"))
    assert running.open(before) == running.open(after) == "the token"
    assert list(running.former) == [first]
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("builder.key*"))


def seal_key_of(sealed: str, wanted: str, keys: KeyPair) -> str:
    """The public key of the file that alone opens this."""
    (file,) = keys.former.values()
    alone = KeyPair(file)
    assert file.name.endswith(wanted) and alone.open(sealed) == "the token"
    return alone.public


def test_a_value_sealed_to_a_key_that_came_meanwhile_is_opened(tmp_path: Path) -> None:
    """Nobody looks at files while all goes well: one that does not open makes us look."""
    file = tmp_path / "builder.key"
    running = KeyPair.load(file)
    command = KeyPair.load(file)
    command.replace()
    assert running.open(seal("new", command.public)) == "new"


def test_a_retired_key_opens_nothing_any_more(tmp_path: Path) -> None:
    file = tmp_path / "builder.key"
    keys = KeyPair.load(file)
    before = seal("the token", keys.public)
    keys.replace()
    keys.replace()
    assert len(keys.former) == 2
    gone = keys.retire()
    assert len(gone) == 2 and keys.former == {} and [path.name for path in tmp_path.iterdir()] == ["builder.key"]
    for each in (keys, KeyPair.load(file)):
        with pytest.raises(Broken) as lost:
            each.open(before)
        assert lost.value.code == "credential.not_ours"


def test_what_is_no_key_is_told_without_being_shown(tmp_path: Path) -> None:
    file = tmp_path / "builder.key"
    keys = KeyPair.load(file)
    held = file.read_text()
    for text in (held[:20], "", "ü" * 9):
        file.write_text(text)
        with pytest.raises(Broken) as broken:
            KeyPair.load(file)
        assert broken.value.code == "key.unusable" and (not text or text not in str(broken.value))
    file.unlink()
    with pytest.raises(Broken, match="is gone"):
        _ = keys.public
    # A file of another kind beside it is nobody's key.
    file.touch(0o600)
    file.write_text(held)
    (tmp_path / "builder.key.new").write_text("draft")
    assert KeyPair.load(file).former == {}
