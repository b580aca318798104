"""Raw input to tokens and their layout."""
