"""Reads the event files of `report_demo` with TensorBoard's own reader, and compares them with the JSON of the same runs.

    pip install tensorboard
    cargo run -p wengert-flow --example report_demo -- runs.json runs
    python crates/flow/examples/read_events.py runs.json runs
"""

import json
import math
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

document, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
runs = document["runs"]
folders = sorted(p for p in folder.iterdir() if p.is_dir())
assert len(folders) == len(runs), (folders, len(runs))
read = {}
for path in folders:
    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    events.Reload()
    read[path.name] = events


def same(a, b):
    """Scalars are single precision in the file."""
    return a == b or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-45) or (math.isnan(a) and math.isnan(b))


scalars = histograms = 0
for run in runs:
    name = "".join(c if c.isalnum() or c in ".-_" else "_" for c in run["name"]).strip("_")
    events = read[name]
    tags = events.Tags()
    for curve in run["curves"]:
        got = [(e.step, e.value) for e in events.Scalars(curve["name"])]
        assert len(got) == len(curve["x"]), (curve["name"], len(got))
        for (step, value), x, y in zip(got, curve["x"], curve["y"]):
            assert step == round(x) and same(value, y), (name, curve["name"], step, value, x, y)
            scalars += 1
    for k, step in enumerate(run["steps"]):
        for layer in step["layers"]:
            tag = f"activation_grad_rms/{layer['path']}"
            event = events.Scalars(tag)[k]
            assert event.step == step["step"] and same(event.value, layer["activation_grad"]["rms"]), (name, tag, event)
            scalars += 1
            tag = f"activation/{layer['path']}"
            event, summary = events.Histograms(tag)[k], layer["activation"]
            values = event.histogram_value
            assert values.num == summary["count"] and same(values.min, summary["min"]) and same(values.max, summary["max"])
            assert len(values.bucket) == len(values.bucket_limit) > 0, tag
            histograms += 1
    print(f"{name}: {len(tags['scalars'])} scalar tags, {len(tags['histograms'])} histogram tags")
print(f"{scalars} scalars and {histograms} histograms agree with the JSON")
