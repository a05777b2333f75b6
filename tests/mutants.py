"""Ways in which a file of any kind can be damaged, by chance or on purpose."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

ABSURD = (0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
DEEP, HUGE = "@DEEP@", "@HUGE@"  # what `json.dumps` cannot write
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**62, 2**63, 10**300, 1.5, -0.0, 1e-320, 1e308, float("nan"), float("inf")),
    *("", "x", "x" * 100_000, "\ud800", "\x1b[31m\n\r\0", "日本", "../../etc/passwd", "https://nobody.invalid/x"),
    *([], {}, [[]], [0] * 1000, ["x"] * 3, {"x": {}}, {"": None}, DEEP, HUGE),
)
ODD_TOML = (
    *("-1", "0", "1e400", "nan", "[]", "{}", "true", '""', '"é\\u0000"'),
    *("9" * 5000, "[" * 3000, "1979-05-27"),
)
ODD_SHAPES = (b"(1099511627776,)", b"(-1,)", b"()", b"(3, 4, 5)", b"(" * 3000, b"(" + b"1," * 40 + b")")
ODD_TYPES = (
    *(b"'|O'", b"'<U999999999'", b"'<f8'", b"'<f3'", b"'<V8'"),
    *(b"[('a', '<f8', (1000000,))]", b"__import__('os')"),
)


def mutants(content: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of a file, each with the name of what was done to it."""
    random = np.random.default_rng(seed)
    ways = list(WAYS)
    for number in range(count):
        way = ways[number % len(ways)]
        yield way, WAYS[way](bytearray(content), random)


def cut(content: bytearray, random: np.random.Generator) -> bytes:
    return bytes(content[: random.integers(0, len(content))])


def flip_bits(content: bytearray, random: np.random.Generator) -> bytes:
    """Anywhere, but mostly at both ends, where structure lies."""
    for _ in range(random.integers(1, 20)):
        reach = len(content) if random.random() < 0.4 else min(len(content), 2048)
        at = int(random.integers(0, reach)) * (1 if random.random() < 0.5 else -1)
        content[at] ^= 1 << int(random.integers(0, 8))
    return bytes(content)


def wrong_numbers(content: bytearray, random: np.random.Generator) -> bytes:
    """A length or a shape becomes absurd, in either order of its bytes."""
    for _ in range(random.integers(1, 4)):
        size = int(random.choice((1, 2, 4, 8)))
        reach = len(content) if random.random() < 0.4 else min(len(content), 2048)
        at = int(random.integers(0, max(1, reach - size)))
        number = int(ABSURD[random.integers(0, len(ABSURD))]) % 256**size
        content[at : at + size] = number.to_bytes(size, "little" if random.random() < 0.8 else "big")
    return bytes(content)


def more_text(content: bytearray, random: np.random.Generator) -> bytes:
    """Digits that stand in a header grow; so do opening brackets."""
    places = [at for at in range(min(len(content), 65536)) if chr(content[at]) in "0123456789[{("]
    for _ in range(random.integers(1, 4)):
        if places:
            at = int(random.choice(places))
            content[at : at + 1] = bytes([content[at]]) * int(random.choice((2, 10, 1000, 100_000)))
    return bytes(content)


def shuffle(content: bytearray, random: np.random.Generator) -> bytes:
    """A piece is taken out, doubled, or put elsewhere."""
    start, end = sorted(int(place) for place in random.integers(0, len(content), 2))
    piece = content[start:end]
    what = random.integers(0, 3)
    if what == 0:
        return bytes(content[:start] + content[end:])
    at = int(random.integers(0, len(content)))
    return bytes(content[:at] + piece + content[at:]) if what == 1 else bytes(content[end:] + piece)


def noise(content: bytearray, random: np.random.Generator) -> bytes:
    """The beginning stays, and nothing else."""
    kept = int(random.integers(4, 512))
    return bytes(content[:kept]) + random.bytes(int(random.integers(0, 4096)))


WAYS: dict[str, Callable[[bytearray, np.random.Generator], bytes]] = {
    "cut": cut,
    "flipped bits": flip_bits,
    "wrong numbers": wrong_numbers,
    "more text": more_text,
    "pieces moved": shuffle,
    "noise": noise,
}


def odd_json(value: Any, random: np.random.Generator) -> Any:
    """JSON in which one value, or one key, is another."""
    value = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []

    def walk(item: Any) -> None:
        for key in list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ():
            places.append((item, key))
            walk(item[key])

    walk(value)
    if not places or random.random() < 0.02:
        return ODD[random.integers(len(ODD))]
    home, key = places[random.integers(len(places))]
    what = random.random()
    if what < 0.8:
        home[key] = ODD[random.integers(len(ODD))]
    elif what < 0.9:
        del home[key]
    elif isinstance(home, dict):
        home[["x", "", "__proto__", "\ud800"][random.integers(4)]] = home.pop(key)
    else:
        home.extend(home[:1] * int(random.integers(1, 100)))
    return value


def json_bytes(value: Any) -> bytes:
    text = json.dumps(value).replace(f'"{DEEP}"', "[" * 100_000).replace(f'"{HUGE}"', "1" + "0" * 5000)
    return text.encode()


def crafted_json(content: bytes, random: np.random.Generator) -> bytes:
    return json_bytes(odd_json(json.loads(content), random))


def crafted_lines(content: bytes, random: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    at = int(random.integers(len(lines)))
    lines[at] = crafted_json(lines[at], random) + b"\n"
    return b"".join(lines)


def crafted_toml(content: bytes, random: np.random.Generator) -> bytes:
    """A value after an equals sign is another."""
    text = content.decode()
    matches = list(re.finditer(r"= *(.+)$", text, re.MULTILINE))
    match = matches[random.integers(len(matches))]
    words = (
        "-1",
        "0",
        "1e400",
        "nan",
        "[]",
        "{}",
        "true",
        '""',
        '"é\\u0000"',
        "9" * 5000,
        "[" * 3000,
        "1979-05-27",
    )
    word = words[random.integers(len(words))]
    return (text[: match.start(1)] + word + text[match.end(1) :]).encode()


def odd_array(array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An array of another type, shape or range; texts that are JSON may be other JSON."""
    if array.shape == () and array.dtype.kind == "U" and random.random() < 0.8:
        return np.array(json_bytes(odd_json(json.loads(str(array)), random)).decode(errors="replace"))
    ways: list[Callable[[], np.ndarray]] = [
        lambda: np.zeros((1 << 18, 40), "U1") if random.random() < 0.5 else np.zeros(1 << 22),
        lambda: np.full(array.shape, "x" * 100),
        lambda: np.array(["\ud800"] * max(1, array.size)),
        lambda: np.atleast_1d(array)[:0],
        lambda: array[None],
        lambda: np.concatenate([np.atleast_1d(array)] * 2),
        lambda: np.array([{"an": "object"}], object),
        lambda: np.array(list(map(str, array.ravel()[:50].tolist()))),
        lambda: np.zeros(array.shape, ["<f2", ">f8", ">c16", "?"][random.integers(4)]),
        lambda: np.full(array.shape, [np.nan, np.inf, -1, 1e300][random.integers(4)]),
        lambda: np.full(array.shape, [-1, 2**62, 10**6][random.integers(3)]),
    ]
    return ways[random.integers(len(ways))]()


def odd_header(content: bytes, random: np.random.Generator) -> bytes:
    """The header of an `.npy` file says something else than its numbers are."""
    start, rest = content[:200], content[200:]
    if random.random() < 0.5:
        shape = ODD_SHAPES[random.integers(len(ODD_SHAPES))]
        return re.sub(rb"\([0-9, ]*\)", lambda _: shape, start, count=1) + rest
    dtype = ODD_TYPES[random.integers(len(ODD_TYPES))]
    return re.sub(rb"'descr': [^,]+", lambda _: b"'descr': " + dtype, start) + rest


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def crafted_npy(content: bytes, random: np.random.Generator) -> bytes:
    if random.random() < 0.5:
        return odd_header(content, random)
    return npy(odd_array(np.load(io.BytesIO(content)), random))


def crafted_npz(content: bytes, random: np.random.Generator) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = list(members)[random.integers(len(members))]
    if random.random() < 0.1:
        del members[name]
    else:
        members[name] = crafted_npy(members[name], random)
    file = io.BytesIO()
    kinds = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(file, "w", kinds[random.choice(3, p=(0.8, 0.15, 0.05))], compresslevel=1) as archive:
        for one, inside in members.items():
            archive.writestr(one, inside)
    return file.getvalue()


def crafted_safetensors(content: bytes, random: np.random.Generator) -> bytes:
    """The header, or the JSON in its metadata, says something else."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    told = header.get("__metadata__", {}).get("verydeep")
    if told and random.random() < 0.7:
        other = json_bytes(odd_json(json.loads(told), random))
        header["__metadata__"]["verydeep"] = other.decode(errors="replace")
    else:
        header = odd_json(header, random)
    written = json_bytes(header)
    return len(written).to_bytes(8, "little") + written + content[8 + length :]


def crafted_torch(content: bytes, random: np.random.Generator) -> bytes:
    """One object of the pickle is another; or the archive is compressed, and holds more than it is long."""
    import torch

    value = torch.load(io.BytesIO(content), weights_only=True)
    home, item = value, value
    while isinstance(item, dict | list) and item:
        home, keys = item, list(item) if isinstance(item, dict) else range(len(item))
        key = keys[random.integers(len(keys))]
        item = home[key]
        if random.random() < 0.3:
            break
    twins: Any = ("x", "y")
    for _ in range(40):
        twins = (twins, twins)
    tensors = (torch.zeros(1).expand(1 << 20, 1 << 20), torch.zeros(3, 3), torch.full((2,), torch.nan))
    odd = (*ODD[:-2], twins, *tensors, torch.zeros(2, dtype=torch.int8))
    home[key] = odd[random.integers(len(odd))]
    file = io.BytesIO()
    torch.save(value, file)
    if random.random() < 0.9:
        return file.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for name in archive.namelist():
            inside = archive.read(name)
            other.writestr(name, bytes(1 << 24) if "/data/" in name and random.random() < 0.1 else inside)
    return packed.getvalue()
