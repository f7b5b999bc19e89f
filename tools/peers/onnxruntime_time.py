"""Time an ONNX network in ONNX Runtime on one thread: the peer of `skyquilt bench model`. SQ_ORT names a Python that has it.

    onnxruntime_time.py FILE.onnx SIDE SECONDS
"""
import json
import sys
import time

import numpy as np
import onnxruntime

path, side, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
tile = int(session.get_modelmeta().custom_metadata_map["skyquilt.tile"])
rng = np.random.default_rng(1)
feed = {}
for entry in session.get_inputs():
    n = side if entry.name == "image" else side // tile
    feed[entry.name] = rng.normal(size=(1, entry.shape[1], n, n)).astype(np.float32)
for _ in range(2):
    session.run(None, feed)
times, end = [], time.monotonic() + seconds
while time.monotonic() < end or len(times) < 3:
    begin = time.process_time()
    session.run(None, feed)
    times.append(time.process_time() - begin)
print(json.dumps({"seconds": float(np.median(times)), "version": onnxruntime.__version__}))
