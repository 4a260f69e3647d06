"""Codecs that store each element in just the bits it needs: `PackBitsCodec` for Zarr v3, `BitPack` for numcodecs."""
