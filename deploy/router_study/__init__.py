"""A federation of many domains, for comparing routers (docs/routers.md)."""
