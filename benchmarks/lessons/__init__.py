"""The experiments behind the teaching notebooks: one module, one notebook.

Each module measures, predicts, draws and states what must hold anywhere; a
notebook only asks and shows. They need matplotlib (the extra `notebooks`).
"""
