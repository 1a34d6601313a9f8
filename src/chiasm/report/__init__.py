"""One self-contained HTML page of pictures, tables and settings."""

from chiasm.report.page import Row, write_page

__all__ = ["Row", "write_page"]
