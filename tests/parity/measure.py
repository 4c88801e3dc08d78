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


def main(cases_wanted: list[str]) -> None:
    jax.config.update("jax_default_matmul_precision", "highest")
    params = cases.params()
    print("| case | worst output | error | tolerance |\n|---|---|---:|---:|")
    for case in cases_wanted or cases.CASES:
        ours = jax_outputs.RUN[case](params, cases.CASES[case]())
        stored = np.load(Path(__file__).parent / "fixtures" / f"{case}.npz")
        groups: dict[tuple[float, bool], list[tuple[float, str]]] = {}
        for name in stored:
            error = compare.error(name, thin(name, ours[name]), stored[name])
            groups.setdefault((compare.tolerance(name), name == "decoded"), []).append(
                (error, name)
            )
        for (tolerance, _), errors in groups.items():
            error, name = max(errors)
            unit = " px" if name.startswith("flow") else ""
            print(
                f"| {case} | {name} | {error:.1e}{unit} | {tolerance:.0e}{unit} |",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
