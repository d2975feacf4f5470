"""Downloads: files from mirrors, MNIST by torchvision, and the failures that are remembered."""
