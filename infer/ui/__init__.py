"""The browser page of `python -m infer ui`, its server and its queue of jobs."""
