"""A stand-in for vLLM, as far as its server is: it starts in a moment and draws nothing. The
variables STAND_IN_* of its environment say how it behaves.
"""
