"""Packed bits: kernels, layouts, frames and boxes."""
