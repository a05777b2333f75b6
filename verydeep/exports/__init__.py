"""A model -> what others read: an ONNX graph, OpenVINO's form, a folder for the Hub. Imports no torch."""
