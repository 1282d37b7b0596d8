"""`python -m cam_adv`, the same as the command `cam-adv`."""

from cam_adv.cli import main

if __name__ == "__main__":
    main()
