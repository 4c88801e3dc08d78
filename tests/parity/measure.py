"""Print the measured errors of docs/parity.md, without torch: `python
tests/parity/measure.py [case ...]`.
"""

import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

import cases
import compare
import jax_outputs
from thinning import thin

FIXTURES = Path(__file__).parent / "fixtures"


def main(names: list[str]) -> None:
    jax.config.update("jax_default_matmul_precision", "highest")
    params = cases.params()
    print("| case | worst output | error | tolerance |\n|---|---|---:|---:|")
    for case in names or cases.CASES:
        inputs = cases.CASES[case]()
        ours = jax_outputs.RUN[case](params, inputs)
        expected = np.load(FIXTURES / f"{case}.npz")
        # the frames are a row of their own beside others of the same tolerance
        groups: dict[tuple[float, bool], list[tuple[float, str]]] = {}
        for name in expected:
            error = compare.error(name, thin(name, ours[name]), expected[name])
            group = (compare.tolerance(name), name == "decoded")
            groups.setdefault(group, []).append((error, name))
        for (tolerance, _), errors in groups.items():
            error, name = max(errors)
            unit = " px" if name.startswith("flow") else ""
            numbers = f"{error:.1e}{unit} | {tolerance:.0e}{unit}"
            # a case takes seconds to a minute
            print(f"| {case} | {name} | {numbers} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
