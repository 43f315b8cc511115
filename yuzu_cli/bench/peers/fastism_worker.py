"""Runs fastISM in its own environment, for the `fastism` beside it; imports none of this package.

    python fastism_worker.py FOLDER

reads `layers.json`, `weights.npz`, `codes.npy` and `positions.npy` of the folder, then lines of
standard input: `run COUNT` times mutagenesis of the first sequences at these positions,
`save COUNT` writes their deltas to `delta.npy`. Every answer is a line of JSON.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path


def build(folder, length):
    """The network in Keras, on (N, L, 4); and (positions, channels) of a profile it returns."""
    import numpy as np
    from tensorflow import keras

    weights = np.load(folder / "weights.npz")
    inputs = keras.Input((length, 4))
    x, saved, profile = inputs, None, None
    for step in json.loads((folder / "layers.json").read_text()):
        kind = step.pop("kind")
        arrays = [weights[name] for name in step.pop("weights")]
        if kind == "save":
            saved = x
            continue
        if kind == "add":
            x = keras.layers.Add()([saved, x])
            continue
        if kind == "profile":  # put right in `save`; fastISM wants an end to its windows
            kind, profile = "Flatten", tuple(x.shape[1:])
        layer = getattr(keras.layers, kind)(**step)
        x = layer(x)
        if arrays:
            layer.set_weights(arrays)
    return keras.Model(inputs, x), profile


class Worker:
    """The model, its fastISM, and the sequences."""

    def __init__(self, folder):
        import numpy as np
        import tensorflow as tf
        from fastism import FastISM

        threads = int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0"))
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.tf, self.np, self.folder = tf, np, folder
        codes = np.load(folder / "codes.npy")
        self.x = np.eye(4, dtype=np.float32)[codes]
        self.model, self.profile = build(folder, codes.shape[1])
        ranges = [(int(p), int(p) + 1) for p in np.load(folder / "positions.npy")]
        self.tool = FastISM(self.model, change_ranges=ranges, test_correctness=False)
        self.letters = np.eye(4, dtype=np.float32)

    def scores(self, count):
        """Outputs with each letter at each of the positions, (4, N, M, ...)."""
        x = self.tf.constant(self.x[:count])
        return [self.tool(x, replace_with=letter.tolist()) for letter in self.letters]

    def run(self, count):
        """Seconds by the clock and of the processors."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.scores(count)
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def save(self, count):
        """Write deltas (4, N, M, T), outputs flattened channels first."""
        mutants = self.np.asarray(self.scores(count))
        reference = self.model(self.tf.constant(self.x[:count])).numpy()
        delta = mutants - reference[None, :, None]
        if self.profile is not None:
            delta = delta.reshape(*delta.shape[:3], *self.profile).swapaxes(3, 4)
        delta = delta.reshape(*delta.shape[:3], -1)
        self.np.save(self.folder / "delta.npy", delta)
        return {"saved": count}


def describe(error):
    """An error in a line, with where it came from: fastISM's assertions have no text."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, line {frame.lineno}: {frame.line}"
    return f"{type(error).__name__}: {error} ({where})".replace(":  (", " (")


def main():
    """Answer lines until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    try:
        worker = Worker(Path(sys.argv[1]))
    except Exception as error:
        answers.write(json.dumps({"error": describe(error)}) + "\n")
        return
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        what, count = line.split()
        try:
            answer = getattr(worker, what)(int(count))
        except Exception as error:
            answer = {"error": describe(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
