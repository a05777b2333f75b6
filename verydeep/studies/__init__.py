"""One description -> a table's worth of trainings and tests, and the paper's claims put to the test. Section 4."""
