"""Real input for a first try, from packages that carry it: nothing here was made for us.

    python -m workloads.samples elevation | curl --data-binary @- …

* ``elevation``: a digital elevation model of the Jacksboro fault in Tennessee, 344 × 403
  cells 3 arc seconds apart, which matplotlib ships as sample data. Its spacing is that of
  NASA's Shuttle Radar Topography Mission, whose data are in the public domain; matplotlib
  (licence: PSF-like) does not name the origin itself. Written as ``.npy``, in metres.
* ``recording``: ``house_lo.wav``, the music of pygame-ce's examples: 8 bit, 11,025 Hz, 7 s.
  pygame-ce is under the LGPL 2.1; its notes name no other author or licence for this file
  (they put the examples' source code, not their data, in the public domain). So it is read
  where it is installed, and never part of this project. Written as it is.
"""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import numpy as np

_FILES = {
    "elevation": ("matplotlib", "mpl-data/sample_data/jacksboro_fault_dem.npz"),
    "recording": ("pygame", "examples/data/house_lo.wav"),
}
_DISTRIBUTIONS = {"matplotlib": "matplotlib", "pygame": "pygame-ce"}


def sample(name: str) -> bytes:
    """Return a sample in the format that the endpoints take.

    Raises:
        KeyError: no such sample.
        FileNotFoundError: the package that carries it is not installed; says which.
    """
    package, relative = _FILES[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{name} comes with {_DISTRIBUTIONS[package]}: pip install it")
    path = Path(spec.origin).parent / relative
    if not path.exists():
        raise FileNotFoundError(f"this {_DISTRIBUTIONS[package]} ships no {relative}")
    if path.suffix != ".npz":
        return path.read_bytes()
    with np.load(path, allow_pickle=False) as archive:
        buffer = io.BytesIO()
        np.save(buffer, archive["elevation"].astype(np.int16), allow_pickle=False)
        return buffer.getvalue()


def main() -> None:
    """Write the sample named on the command line to stdout."""
    if len(sys.argv) != 2 or sys.argv[1] not in _FILES:
        sys.exit(f"usage: python -m workloads.samples {'|'.join(_FILES)}")
    try:
        body = sample(sys.argv[1])
    except FileNotFoundError as ex:
        sys.exit(str(ex))
    sys.stdout.buffer.write(body)


if __name__ == "__main__":
    main()
