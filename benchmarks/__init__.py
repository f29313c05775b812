"""Our parts beside named peers or floors, in the same interleaved run; `make bench NAME=x` runs one."""
