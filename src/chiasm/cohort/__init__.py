"""Many scans: their outputs, their processing, and the store of finished results."""
