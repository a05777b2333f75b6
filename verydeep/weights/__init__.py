"""Other people's weights <-> ours: files and layouts of every library that people have VGG networks from.

    source.py      a path or a name -> a file here, and what is known about it beyond its tensors
    by_name.py     names such as `torchvision:vgg16` -> a file here (download.py, hub.py)
    published.py   `Metadata`, and that of the files that libraries publish, by checksum
    formats.py     the table of formats, and a file's format
    files/         a file -> its tensors, as they lie in it, and what else it says: checkpoint.py
    choice.py      names and shapes in a checkpoint -> the VGG network among them, and what is beside it
    layouts/       a library's names and axes <-> ours
    steps.py       what a file says is computed -> layers in their order, or why it is not a VGG network
    recognize.py   layers -> the configuration and the window that they are for, and tensors with our names
    importing.py   through all of these: another library's file -> weights of ours, with what belongs to them
    class_names.py names of classes as a user gives them, a file of them too
    writing.py     a model of ours -> a file that another library loads

`verydeep.weights.opening.open_source` goes all the way, from a path or a name to a model.
"""
