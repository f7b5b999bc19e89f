"""The smallest ONNX file that passes for a catalog network: right names, shapes and metadata."""


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, payload):
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def text(field, value):
    return message(field, str(value).encode())


def value_info(name, channels, axis):
    dims = [number(1, 1), number(1, channels), text(2, axis), text(2, axis)]
    shape = b"".join(message(1, d) for d in dims)
    return text(1, name) + message(2, message(1, number(1, 1) + message(2, shape)))


def convolution(source, weight, target, stride):
    pairs = lambda name, values: message(5, text(1, name) + b"".join(number(8, v) for v in values) + number(20, 7))
    return (text(1, source) + text(1, weight) + text(2, target) + text(3, target) + text(4, "Conv")
            + pairs("kernel_shape", [1, 1]) + pairs("strides", [stride, stride]))


def fake_model(bands, reference, extra=None, drop=()):
    """extra: metadata without the prefix, replacing the usual; drop: keys left out."""
    b = len(bands.split(","))
    slot = 14 + b + b * (b + 1) // 2 + 1
    head = (3 + 2 * slot + 15) // 16 * 16
    tensor = lambda name, outer, inner: (b"".join(number(1, d) for d in (outer, inner, 1, 1)) + number(2, 1)
                                         + text(8, name) + message(9, bytes(4 * outer * inner)))
    graph = message(1, convolution("planes", "w0", "head0", 2))
    graph += b"".join(message(1, convolution(f"ctx{k}", "w1", f"head{k}", 2)) for k in (1, 2, 3))
    graph += text(2, "fake") + message(5, tensor("w0", head, 8 * b)) + message(5, tensor("w1", head, 16))
    graph += message(11, value_info("image", 2 * b, "side")) + message(11, value_info("planes", 8 * b, "tiles"))
    graph += b"".join(message(11, value_info(f"ctx{k}", 16, "tiles")) for k in (1, 2, 3))
    graph += b"".join(message(12, value_info(f"head{k}", head, "half")) for k in range(4))
    entries = {"kind": "catalog", "name": "fake", "version": "1", "bands": bands, "reference": reference, "tile": 4,
               "multiple": 16, "slots": 2, "planes": 8, "context": 16, "slot_size": slot, "head": head, "core": 64,
               "halo": 16, "limit": 23, "scale": 0.4, "calibration": "none"}
    entries.update(extra or {})
    metadata = b"".join(message(14, text(1, "skyquilt." + k) + text(2, v)) for k, v in entries.items() if k not in drop)
    return number(1, 7) + message(8, number(2, 13)) + message(7, graph) + metadata
