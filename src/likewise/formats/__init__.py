"""File layouts, one file each. Formats know tensors and names; they import no family and no method."""
