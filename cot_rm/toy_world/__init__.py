"""The built-in preference world: rendered scenes, their descriptions, a teacher and a tokenizer."""
