"""``python -m benchmarks``: see benchmarks.latency."""

from benchmarks.latency import main

if __name__ == "__main__":
    main()
