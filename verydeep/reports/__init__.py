"""Results -> something to read: a table in the paper's form, and one page with figures. Section 4."""
