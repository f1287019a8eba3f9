"""A federation of ten domains, for comparing routers (docs/routers.md)."""
