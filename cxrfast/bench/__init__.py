"""Measuring on the user's own machine: what a loader gives, beside what the machine could give at best.

A figure without its ceiling says nothing, and a ceiling from another hour or machine little. So each stage's ceiling is
measured in the same run, in turn with the loader, by the least code that does the same work. Nothing imports this room
but the command line and the project's benchmarks.
"""
