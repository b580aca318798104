"""One file = one paper."""
