"""Prints what TensorBoard itself reads from a folder of event files: one line "step value tag" for
each scalar, values as the hexadecimal form of the float, in the order of tags and of reading."""

import sys

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
accumulator.Reload()
for tag in sorted(accumulator.Tags()["scalars"]):
    for event in accumulator.Scalars(tag):
        print(event.step, float(np.float32(event.value)).hex(), tag)
