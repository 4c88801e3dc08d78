"""One video, or many, on several workers: extra `cluster`, engine Ray."""
