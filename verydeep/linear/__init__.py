"""Appendix B: a network's features and a linear SVM on another data set. A classifier lies beside its model."""
