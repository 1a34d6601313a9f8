"""Methods translate a volume of one modality to another modality; the anatomy stays the same.

A method is one file or one package. It declares a `chiasm.methods.method.Method`, which names
its options, its translator and, if it is trained, its training objective.
"""
