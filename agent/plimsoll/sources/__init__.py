"""Observe: the pods of this node, their cgroups, the node itself."""
