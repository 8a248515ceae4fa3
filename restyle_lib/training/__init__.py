"""Training: one resumable loop (loop.py) and the trainers that use it. Nothing here is imported by `import restyle_lib`."""
