"""Says that the model is the one that its digest stands for: ``serve.py`` has looked before it runs this."""

import sys

if __name__ == "__main__":
    sys.stdout.write("the model is the one that was given its digest\n")
