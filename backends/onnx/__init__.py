"""A network as an ONNX file, lowered directly from the graph."""
