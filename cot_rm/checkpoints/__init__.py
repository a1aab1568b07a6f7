"""Checkpoints on disk: model folders, training states, and Hugging Face's files."""
