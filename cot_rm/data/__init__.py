"""Examples: where they come from, how they are stored, shuffled and packed."""
