"""Print the measured errors of docs/parity.md, without torch: `python tests/parity/measure.py`."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

import cases
import compare
import jax_outputs
from thinning import thin


def main() -> None:
    params = cases.params()
    print("| case | worst output | error | tolerance |\n|---|---|---:|---:|")
    for case, inputs in cases.CASES.items():
        found = jax_outputs.RUN[case](params, inputs())
        stored = np.load(Path(__file__).parent / "fixtures" / f"{case}.npz")
        groups: dict[float, list[tuple[float, str]]] = {}
        for name in stored:
            error = compare.error(name, thin(name, found[name]), stored[name])
            groups.setdefault(compare.tolerance(name), []).append((error, name))
        for tolerance, errors in groups.items():
            error, name = max(errors)
            unit = " px" if name.startswith("flow") else ""
            print(f"| {case} | {name} | {error:.1e}{unit} | {tolerance:.0e}{unit} |", flush=True)


if __name__ == "__main__":
    main()
