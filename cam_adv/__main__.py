"""`python -m cam_adv` is `cam-adv`."""

from cam_adv.cli import main

if __name__ == "__main__":
    main()
