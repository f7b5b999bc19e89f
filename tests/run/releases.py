"""What two releases must have in common."""
import h5py
import numpy as np


def contents(path):
    """Every dataset outside /run: type, shape, bytes and attributes; and the attributes of groups."""
    out = {}
    with h5py.File(path, "r") as f:
        def visit(name, item):
            if name == "run" or name.startswith("run/"):
                return
            attributes = {k: np.asarray(v).tobytes() for k, v in item.attrs.items()}
            if isinstance(item, h5py.Dataset):
                value = item[()]
                data = value if isinstance(value, bytes) else np.asarray(value).tobytes()
                out[name] = (str(item.dtype), item.shape, data, attributes)
            else:
                out[name] = attributes
        f.visititems(visit)
    return out
