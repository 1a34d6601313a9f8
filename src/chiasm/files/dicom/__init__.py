"""DICOM series: MR and CT, classic and enhanced, from folders, zip archives and single files.

`series.find_series` finds the series and checks their geometry, and `read.read` gives a `Volume`.
Both need ``chiasm[dicom]``.
"""
