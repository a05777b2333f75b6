"""Pictures -> what a network's layers give for them, in a file: any number of pictures, in bounded memory."""
