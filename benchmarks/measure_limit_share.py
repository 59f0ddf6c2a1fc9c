"""What share of the machine's own limit training reaches: its arithmetic a second over that of a matrix product.

The arithmetic of a step is counted by torch on the model as it is written (forward and backward, the padding of captions
to the longest of a batch not counted, since it is not computed); the limit is the best rate of a large matrix product in the same
precision on the same cores, measured in turn.
"""

from __future__ import annotations
