"""DICOM series: MR and CT, classic and enhanced, from folders, zip archives and single files.

`series.find_series` finds the series and checks their geometry; `series.Series.read` gives a
`Volume`. It needs ``chiasm[dicom]``.
"""
