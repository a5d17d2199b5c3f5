"""Writes a bbolt file (the key-value format of Trivy's database) in one go, and reads one.

Pages of 4096 bytes: 0 and 1 meta, 2 the free list, then the tree. Leaf and branch pages are a header, an array of elements and
the keys and values behind it. https://github.com/etcd-io/bbolt#database-internals
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

Tree: TypeAlias = "Mapping[bytes, bytes | Tree]"

SIZE = 4096
MAGIC, FORMAT = 0xED0CDAED, 2
IS_BRANCH, IS_LEAF, IS_META, IS_FREELIST = 1, 2, 4, 16
IN_BUCKET = 1
_header = struct.Struct("<QHHI")  # page id, flags, elements, further pages
_leaf = struct.Struct("<IIII")  # flags, offset of the key from this element, key size, value size
_branch = struct.Struct("<IIQ")  # offset of the key from this element, key size, page id
_bucket = struct.Struct("<QQ")  # root page, sequence
_meta = struct.Struct("<IIIIQQQQQ")  # magic, format, page size, flags, root page, sequence, free list, pages, transaction


class NotBolt(ValueError):
    """The file is not in this format, or damaged."""


def checksum(data: bytes) -> int:
    """FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def write(path: Path, tree: Tree) -> None:
    """Make the file from nested mappings; a mapping as a value is a bucket inside its bucket."""
    pages: list[bytes] = [b"", b"", b""]
    root = _write_bucket(pages, tree)
    pages[2] = _page(2, IS_FREELIST, 0, b"")
    for number in (0, 1):
        fields = _meta.pack(MAGIC, FORMAT, SIZE, 0, root, 0, 2, _count(pages), number + 1)
        pages[number] = _page(number, IS_META, 0, fields + struct.pack("<Q", checksum(fields)))
    path.write_bytes(b"".join(pages))


def _count(pages: list[bytes]) -> int:
    return sum(max(len(page), SIZE) for page in pages) // SIZE


def _page(number: int, flags: int, elements: int, body: bytes) -> bytes:
    whole = -(-(_header.size + len(body)) // SIZE)
    return (_header.pack(number, flags, elements, whole - 1) + body).ljust(whole * SIZE, b"\0")


def _write_bucket(pages: list[bytes], tree: Tree) -> int:
    items: list[tuple[int, bytes, bytes]] = []
    for key in sorted(tree):
        value = tree[key]
        if isinstance(value, Mapping):
            items.append((IN_BUCKET, key, _bucket.pack(_write_bucket(pages, value), 0)))
        else:
            items.append((0, key, value))
    level = []
    for chunk in _chunks(items, lambda item: _leaf.size + len(item[1]) + len(item[2])):
        heads, tail, offset = [], [], _leaf.size * len(chunk)
        for index, (flags, key, value) in enumerate(chunk):
            heads.append(_leaf.pack(flags, offset - index * _leaf.size, len(key), len(value)))
            tail += [key, value]
            offset += len(key) + len(value)
        level.append((chunk[0][1] if chunk else b"", _add(pages, IS_LEAF, len(chunk), heads, tail)))
    while len(level) > 1:
        above = []
        for chunk in _chunks(level, lambda item: _branch.size + len(item[0])):
            heads, tail, offset = [], [], _branch.size * len(chunk)
            for index, (key, number) in enumerate(chunk):
                heads.append(_branch.pack(offset - index * _branch.size, len(key), number))
                tail.append(key)
                offset += len(key)
            above.append((chunk[0][0], _add(pages, IS_BRANCH, len(chunk), heads, tail)))
        level = above
    return level[0][1]


def _add(pages: list[bytes], flags: int, elements: int, heads: list[bytes], tail: list[bytes]) -> int:
    number = _count(pages)
    pages.append(_page(number, flags, elements, b"".join(heads + tail)))
    return number


def _chunks(items, size):  # type: ignore[no-untyped-def]
    """Cut into lists that fill a page; at least two in each, so that a tree of any size comes to one root."""
    chunk, filled = [], _header.size
    for item in items:
        if len(chunk) >= 2 and filled + size(item) > SIZE:
            yield chunk
            chunk, filled = [], _header.size
        chunk.append(item)
        filled += size(item)
    yield chunk


class Reader:
    """Reads single buckets of a file without loading it whole."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        newest = (-1, 0)
        for number in (0, 1):
            page = self._read(number * SIZE, SIZE)
            fields = page[_header.size : _header.size + _meta.size]
            if len(fields) < _meta.size:
                continue
            magic, version, size, _, root, _, _, _, transaction = _meta.unpack(fields)
            (sum_,) = struct.unpack_from("<Q", page, _header.size + _meta.size)
            if (magic, version, size) == (MAGIC, FORMAT, SIZE) and sum_ == checksum(fields):
                newest = max(newest, (transaction, root))
        if newest[0] < 0:
            self._file.close()
            raise NotBolt("it has no valid first page")
        self.root = newest[1]

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)

    def items(self, number: int) -> Iterator[tuple[bytes, bytes | tuple[int, bytes]]]:
        """Keys and values below a page; a bucket's value is (its root page, its own page when it has one inside)."""
        head = self._read(number * SIZE, _header.size)
        if len(head) < _header.size:
            raise NotBolt(f"page {number} is cut off")
        further = _header.unpack(head)[3]
        yield from self._elements(self._read(number * SIZE, (further + 1) * SIZE))

    def _elements(self, page: bytes) -> Iterator[tuple[bytes, bytes | tuple[int, bytes]]]:
        _, flags, count, _ = _header.unpack_from(page)
        for index in range(count):
            if flags & IS_LEAF:
                at = _header.size + index * _leaf.size
                kind, offset, key_size, value_size = _leaf.unpack_from(page, at)
                key = page[at + offset : at + offset + key_size]
                value = page[at + offset + key_size : at + offset + key_size + value_size]
                if kind & IN_BUCKET:
                    yield key, (_bucket.unpack_from(value)[0], value[_bucket.size :])
                else:
                    yield key, value
            elif flags & IS_BRANCH:
                at = _header.size + index * _branch.size
                yield from self.items(_branch.unpack_from(page, at)[2])
            else:
                raise NotBolt("a page of the tree is neither leaf nor branch")

    def inside(self, bucket: tuple[int, bytes]) -> Iterator[tuple[bytes, bytes | tuple[int, bytes]]]:
        """The items of a bucket."""
        root, own = bucket
        return self.items(root) if root else self._elements(own)

    def tree(self, number: int | None = None) -> dict[bytes, object]:
        """Everything, as nested dicts: for small files."""
        found: dict[bytes, object] = {}
        for key, value in self.items(self.root if number is None else number):
            found[key] = self._whole(value) if isinstance(value, tuple) else value
        return found

    def _whole(self, bucket: tuple[int, bytes]) -> dict[bytes, object]:
        return {k: self._whole(v) if isinstance(v, tuple) else v for k, v in self.inside(bucket)}
