"""Winograd convolutions for CPUs: `winograd.cpp`, its build, its calls, and the modules made of it."""
