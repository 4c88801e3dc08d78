"""TFDS builders (no TensorFlow): every dataset becomes ArrayRecords of one
`records.Shot` layout.
"""
