"""Archives as bytes: orderly ones, and ones that hold everything that must never be taken from an archive."""

import gzip
import io
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping

TIME = (2025, 1, 1, 0, 0, 0)


def make_zip(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, TIME), content, compression)
    return buffer.getvalue()


def make_tar(members: Mapping[str, bytes], compression: str = "") -> bytes:
    """`compression` is "" or "gz"."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            _add(archive, name, content)
    return gzip.compress(buffer.getvalue(), mtime=0) if compression == "gz" else buffer.getvalue()


def _add(
    archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = len(content), kind, link
    archive.addfile(member, io.BytesIO(content))


def nasty_zip(good: Iterable[bytes], bad: Iterable[bytes], extension: str) -> bytes:
    """A zip with `good` media in all kinds of compression, and six `bad` ones where none may be taken from."""
    good, bad = list(good), list(bad)
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:

        def add(
            name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED, mode: int = stat.S_IFREG | 0o644
        ) -> None:
            entry = zipfile.ZipInfo(name, TIME)
            entry.create_system, entry.external_attr = 3, mode << 16
            archive.writestr(entry, content, method)

        archive.mkdir("media")
        for number, content in enumerate(good):
            add(f"media/{number} gut #1 50%ö.{extension}", content, methods[number % len(methods)])
        add(f"../escape.{extension}", bad[0])
        add(f"media/../../escape.{extension}", bad[1])
        add(f"/absolute.{extension}", bad[2])
        add(f"C:\\drive.{extension}", bad[3])
        add(f"media/link.{extension}", b"../../../etc/passwd", mode=stat.S_IFLNK | 0o777)
        add(f"media/lzma.{extension}", bad[4], zipfile.ZIP_LZMA)
        add(f"__MACOSX/media/._0.{extension}", b"\0\5\x16\7\0\2\0\0Mac OS X" + b"\0" * 60)
        add(f"media/empty.{extension}", b"")
        add(f"media/cut.{extension}", good[0][:11])
        add("media/.DS_Store", b"\0\0\0\1Bud1" + b"\0" * 40)
        add("README.txt", b"read me\n")
    return _with_encrypted(buffer.getvalue(), f"media/secret.{extension}", bad[5])


def duplicate_zip(first: bytes, second: bytes, name: str) -> bytes:
    """Two entries of one name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name, TIME), first)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr(zipfile.ZipInfo(name, TIME), second)
    return buffer.getvalue()


def _with_encrypted(archive: bytes, name: str, content: bytes) -> bytes:
    """Append an entry in the traditional encryption, which `zipfile` reads and does not write."""
    crc = zlib.crc32(content)
    data = _encrypt(b"password", bytes(11) + bytes([crc >> 24]) + content)
    date = ((TIME[0] - 1980) << 9) | (TIME[1] << 5) | TIME[2]
    # Version 2.0, flag "encrypted", stored, time, date, checksum, sizes, length of the name, no extra field.
    fields = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, date, crc, len(data), len(content), len(name), 0)
    end = archive.rindex(b"PK\5\6")
    entries, directory_size, directory = struct.unpack("<HII", archive[end + 10 : end + 20])
    local = b"PK\3\4" + fields + name.encode() + data
    central = b"PK\1\2" + struct.pack("<H", 0x0314) + fields + struct.pack("<HHHII", 0, 0, 0, 0o100644 << 16, directory)
    listing = archive[directory : directory + directory_size] + central + name.encode()
    tail = struct.pack("<HHHHIIH", 0, 0, entries + 1, entries + 1, len(listing), directory + len(local), 0)
    return archive[:directory] + local + listing + b"PK\5\6" + tail


def _encrypt(password: bytes, plain: bytes) -> bytes:
    """PKWARE's traditional encryption: APPNOTE.TXT, section 6.1."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def step(crc: int, byte: int) -> int:
        return ~zlib.crc32(bytes([byte]), ~crc & 0xFFFFFFFF) & 0xFFFFFFFF

    def update(byte: int) -> None:
        keys[0] = step(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = step(keys[2], keys[1] >> 24)

    for byte in password:
        update(byte)
    encrypted = bytearray()
    for byte in plain:
        mask = (keys[2] | 2) & 0xFFFF
        encrypted.append(byte ^ (((mask * (mask ^ 1)) >> 8) & 0xFF))
        update(byte)
    return bytes(encrypted)


def nasty_tar(good: Iterable[bytes], bad: Iterable[bytes], extension: str, compression: str = "") -> bytes:
    """A tar with `good` media under long and foreign names, and links, devices and escapes with three `bad` ones."""
    good, bad = list(good), list(bad)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, "media", kind=tarfile.DIRTYPE)
        for number, content in enumerate(good):
            _add(archive, f"media/{'long ' * 30 * (number % 2)}{number} größe #.{extension}", content)
        _add(archive, f"media/soft.{extension}", kind=tarfile.SYMTYPE, link="/etc/passwd")
        _add(archive, f"media/hard.{extension}", kind=tarfile.LNKTYPE, link=f"media/0 größe #.{extension}")
        _add(archive, f"media/pipe.{extension}", kind=tarfile.FIFOTYPE)
        _add(archive, f"media/device.{extension}", kind=tarfile.CHRTYPE)
        _add(archive, f"../escape.{extension}", bad[0])
        _add(archive, f"media/../../escape.{extension}", bad[1])
        _add(archive, f"/absolute.{extension}", bad[2])
        _add(archive, f"media/empty.{extension}")
        _add(archive, "media/README.txt", b"read me\n")
    tar = buffer.getvalue()
    return gzip.compress(tar, mtime=0) if compression == "gz" else tar
