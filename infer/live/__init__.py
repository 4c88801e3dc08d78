"""Streams that do not wait: pipes, cameras and networks in, pipes and networks out, for as long as they last."""
