"""Alice: explores, labels what happened, checks it, judges Bob and says what to explore next."""
