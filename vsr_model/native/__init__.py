"""Winograd convolutions for CPUs: `winograd.cpp`, how it is compiled, called, and composed to stages."""
