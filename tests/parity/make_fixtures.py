"""Write tests/parity/fixtures with PyTorch: `python tests/parity/make_fixtures.py [case
...]`.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

import cases
import torch_outputs
from thinning import thin


def main(names: list[str]) -> None:
    for case in names or cases.CASES:
        outputs = torch_outputs.run(case)
        samples = {name: thin(name, np.asarray(x)) for name, x in outputs.items()}
        path = Path(__file__).parent / "fixtures" / f"{case}.npz"
        np.savez_compressed(path, **samples)
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
