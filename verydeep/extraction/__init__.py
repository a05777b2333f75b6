"""Images -> what a network's layers give for them, in a file: any number of images, in bounded memory."""
