"""Runs the notebooks from first to last, resumably, and writes what a reviewer opens.

`plan` decides which notebooks run with which parameters, `kernel` executes one and believes it
only when every cell ran, `record` remembers what is finished, `pace` shows how far it is, and
`reproduction` ties them together.
"""
