"""The kernel's side of hybrid: processes, descriptors, signals, memory, CPUs.

Everything here wraps one mechanism of the operating system and knows no
policy. Where a system lacks a mechanism (parent-death signals, pidfd, memfd,
eventfd, cgroups) the fallback is chosen here and nowhere else.
"""
