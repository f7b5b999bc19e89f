"""ONNX files as protocol buffers, as far as metadata and weights need them (onnx.proto of ONNX 1.13)."""

import numpy as np

GRAPH, METADATA = 7, 14          # fields of a ModelProto
NODE, INITIALISER = 1, 5         # of a GraphProto
DIMENSIONS, TYPE, NAME, RAW = 1, 2, 8, 9    # of a TensorProto
FLOAT, FLOAT16 = 1, 10


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def read_varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    """(number, wire type, value, bytes of the whole) of the fields of a serialised message."""
    at = 0
    while at < len(data):
        begin = at
        key, at = read_varint(data, at)
        size = {0: 0, 1: 8, 5: 4}.get(key & 7)
        if size is None:
            if key & 7 != 2:
                raise SystemExit("not an ONNX file")
            size, at = read_varint(data, at)
        value = data[at:at + size]
        if key & 7 == 0:
            value, at = read_varint(data, at)
        at += size
        yield key >> 3, key & 7, value, data[begin:at]


def metadata(entries):
    """ModelProto.metadata_props, appended to the file: a repeated field may stand anywhere."""
    return b"".join(field(METADATA, field(1, k.encode()) + field(2, str(v).encode())) for k, v in entries.items())


def split_model(data):
    """What of a ModelProto is no metadata as bytes, and the metadata."""
    rest, entries = b"", {}
    for number, _, value, whole in fields(data):
        if number == METADATA:
            pair = {n: v.decode() for n, _, v, _ in fields(value)}
            entries[pair.get(1, "")] = pair.get(2, "")
        else:
            rest += whole
    return rest, entries


def halve(model):
    """The model with its large float32 weights as float16, each followed by a Cast."""
    out = b""
    for number, _, graph, whole in fields(model):
        if number != GRAPH:
            out += whole
            continue
        casts, rest = b"", b""
        for kind, _, tensor, part in fields(graph):
            entries = {n: v for n, _, v, _ in fields(tensor)} if kind == INITIALISER else {}
            if kind != INITIALISER or entries.get(TYPE) != FLOAT or len(entries.get(RAW, b"")) < 4096:
                rest += part
                continue
            name = entries[NAME]
            raw = np.frombuffer(entries[RAW], "<f4").astype("<f2").tobytes()
            rest += field(INITIALISER, b"".join(w for n, _, _, w in fields(tensor) if n not in (TYPE, NAME, RAW)) +
                          varint(TYPE << 3) + varint(FLOAT16) + field(NAME, name + b".half") + field(RAW, raw))
            to = field(1, b"to") + varint(3 << 3) + varint(FLOAT) + varint(20 << 3) + varint(2)
            casts += field(NODE, field(1, name + b".half") + field(2, name) + field(3, name + b".cast") +
                           field(4, b"Cast") + field(5, to))
        out += field(GRAPH, casts + rest)
    return out
