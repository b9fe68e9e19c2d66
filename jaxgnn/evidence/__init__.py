"""What a reproduction is: cells that are measured once and kept, claims, findings. `experiments/` builds on it."""
