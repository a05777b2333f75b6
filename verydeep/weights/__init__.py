"""Other people's weights <-> ours: files and layouts of every library that people have VGG networks from.

    source.py      a path or a name -> a file here, and what is known about it beyond its tensors
    published.py   the files that libraries publish, by checksum: preprocessing, classes, licence, figures
    by_name.py     names such as `torchvision:vgg16` -> a file here (download.py, hub.py)
    files/         a file -> its tensors, as they lie in it, and what else it says: raw.py
    choice.py      names and shapes in a checkpoint -> the VGG network among them
    layouts/       a library's names and axes <-> ours
    steps.py       what a file says is computed -> layers in their order, or why it is no VGG network
    windows.py     layers -> the size of images that the FC layers are for
    recognize.py   layers -> the configuration that has them, and tensors with our names
    foreign.py     through all of these: another library's file -> weights of ours, with what belongs to them
    inspection.py  what there is to say about a file, as plain data
    class_list.py  a file of class names -> the names (class_names.py)
    writing.py     a model of ours -> a file that another library loads

`verydeep.weights.opening.open_source` goes all the way, from a path or a name to a model.
"""
