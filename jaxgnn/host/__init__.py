"""The machine: memory, cores, precision, files, interrupts, and how programs are traced and compared.

Every other room may import from here; nothing here knows of graphs.
"""
