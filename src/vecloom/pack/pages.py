"""How much memory a Parquet file takes once it is read, found out from the headers of its pages.

The footer's own sizes cannot be trusted, and a few bytes can stand for gigabytes: a compressed page of zeros,
a dictionary entry that repeats, a run of a billion equal values. Every page header is read before a page is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from vecloom.errors import PackError

#: Bytes of a page header that are read at first, and at most.
_HEADER, _MOST_HEADER = 1 << 12, 1 << 20

#: Names of Parquet's page types and encodings, by number. Other encodings can repeat a long prefix for free.
_DICTIONARY, _DATA, _DATA_2 = 2, 0, 3
_PLAIN, _PLAIN_DICTIONARY, _RLE, _BIT_PACKED, _RLE_DICTIONARY = 0, 2, 3, 4, 8
_ENCODINGS = frozenset({_PLAIN, _PLAIN_DICTIONARY, _RLE, _BIT_PACKED, _RLE_DICTIONARY})

#: Bytes of a value in memory.
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}

#: Bytes of a value's repetition and definition levels in memory.
_LEVELS = 4


@dataclass(frozen=True, slots=True)
class ColumnSize:
    """What a column of a row group takes: its pages unpacked, its values (nulls too), and bytes in memory.

    A repeated text counts once: bytes in memory are those of an Arrow dictionary.
    """

    unpacked: int
    values: int
    memory: int
    has_dictionary: bool


def measure_column(file: IO[bytes], column: Any, length: int, file_size: int) -> ColumnSize:
    """Read the page headers of a column of a row group (``pyarrow.parquet.ColumnChunkMetaData``).

    ``length``: bytes of a value of fixed length, such as float16.

    Raises:
        PackError: the column lies outside of the file, a page header is damaged, or a page has an encoding
            that vecloom does not write.
    """
    start = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    end = start + column.total_compressed_size
    if not 4 <= start <= end <= file_size:
        raise PackError(f"has a column {column.path_in_schema!r:.80} that lies outside of it")
    unpacked = values = 0
    has_dictionary = False
    for kind, size, count in _read_pages(file, start, end):
        unpacked += size
        if kind == _DICTIONARY:
            has_dictionary = True
        else:
            values += count
    if values != column.num_values:
        raise PackError(
            f"has {values} values of {column.path_in_schema!r:.80} in its pages, not {column.num_values}"
        )
    width = _WIDTHS.get(column.physical_type, length)
    memory = unpacked + values * (width + _LEVELS)
    return ColumnSize(unpacked, values, memory, has_dictionary)


def _read_pages(file: IO[bytes], start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, unpacked bytes and values of each page in ``start`` to ``end`` of the file."""
    while start < end:
        header, length = _read_header(file, start, end)
        kind, unpacked, packed = header.get(1), header.get(2), header.get(3)
        if not (isinstance(kind, int) and isinstance(unpacked, int) and isinstance(packed, int)):
            raise PackError("has a damaged page header")
        said = header.get({_DATA: 5, _DICTIONARY: 7, _DATA_2: 8}.get(kind, 0))
        if not isinstance(said, dict):
            raise PackError("has a damaged page header")
        count, encoding = said.get(1), said.get(4 if kind == _DATA_2 else 2)
        start += length + packed
        if unpacked < 0 or packed < 0 or start > end or not isinstance(count, int) or count < 0:
            raise PackError("has a damaged page header")
        if encoding not in _ENCODINGS:
            raise PackError(f"has a page of the encoding {encoding}, which vecloom does not write")
        yield kind, unpacked, count


def _read_header(file: IO[bytes], start: int, end: int) -> tuple[dict[int, Any], int]:
    """The header at ``start`` and how many bytes it has."""
    for most in (_HEADER, _MOST_HEADER):
        file.seek(start)
        reader = _Compact(file.read(min(most, end - start)))
        try:
            return reader.read_struct(), reader.at
        except IndexError:
            continue
    raise PackError("has a damaged page header")


class _Compact:
    """Reads Thrift's compact protocol, as far as page headers go. Raises IndexError where the data ends."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def read_struct(self, depth: int = 0) -> dict[int, Any]:
        """Field number -> value; texts are skipped."""
        if depth > 4:
            raise PackError("has a damaged page header")
        found: dict[int, Any] = {}
        number = 0
        while head := self._read_byte():
            number = number + (head >> 4) if head >> 4 else self._read_integer()
            found[number] = self._read_value(head & 15, depth)
        return found

    def _read_value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._read_byte()
        if kind in (4, 5, 6):
            return self._read_integer()
        if kind == 8:
            length = self._read_varint()
            self.at += length
            return None
        if kind == 12:
            return self.read_struct(depth + 1)
        raise PackError("has a damaged page header")

    def _read_byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _read_varint(self) -> int:
        value = shift = 0
        while shift < 64:
            byte = self._read_byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        raise PackError("has a damaged page header")

    def _read_integer(self) -> int:
        value = self._read_varint()
        return (value >> 1) ^ -(value & 1)
