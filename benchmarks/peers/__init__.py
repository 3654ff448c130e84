"""A straightforward CQN-AS training loop, written from a description of the usual one: what ours is measured against.

Same networks, batches and losses; nothing else is shared with zoomrl but the environments.
"""
