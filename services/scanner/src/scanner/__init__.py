"""The scanner finds out what is wrong with source and image, and how sure it is of that.

It owns scans, findings and vulnerability data. It starts the engines as child processes, believes them only with proof (exit
code, readable output, version, something read, no errors), gives findings an identity that survives moved lines, and
announces each area by itself. It does not judge: whether a finding stops a deploy is the gate's decision.
"""
