"""Statistics on scores: effective robustness, effects and their intervals."""
