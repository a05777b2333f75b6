"""Other people's weights <-> ours: files and layouts of every library that people have VGG networks from.

    source.py      a path or a name -> a file here, and what is known about it beyond its tensors
    published.py   the files that libraries publish, by checksum: preprocessing, classes, licence, figures
    by_name.py     names such as `torchvision:vgg16` -> a file here
    files/         a file -> its tensors, as they lie in it
    layouts/       a library's names and axes <-> ours
    recognize.py   tensors -> the configuration that has them
    foreign.py     through all of these: another library's file -> weights of ours, with what belongs to them

`verydeep.weights.opening.open_source` goes all the way, from a path or a name to a model.
"""
