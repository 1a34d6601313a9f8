"""A self-contained HTML page of pictures, tables and settings."""

from chiasm.page.write import Row, write_page

__all__ = ["Row", "write_page"]
