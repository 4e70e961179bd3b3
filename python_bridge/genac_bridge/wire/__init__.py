"""The wire: messages and their frames, the worker's end of the link, and the thread that serves
requests.
"""
