"""Data of training: everything that makes batches of LR and HR windows."""
