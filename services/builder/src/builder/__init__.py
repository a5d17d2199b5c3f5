"""How source becomes an image.

The builder owns builds: their queue, versions, attempts, logs and images. It fetches one commit, has the engine build its
Dockerfile, names the image and tells what came of it. It does not know which pushes deserve a run, what an image may
contain, or where it goes: those are the webhook's, the gate's and the deployer's.
"""
