"""The functions of the package, a file each: the rooms working together to answer.

`verydeep.predict` is `verydeep.api.predict.predict`, and the command `verydeep predict` calls it.
"""
