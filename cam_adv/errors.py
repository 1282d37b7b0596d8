"""What a person is told when their input can't be used."""


class UserError(Exception):
    """Something that the user can mend: one sentence what is wrong, one sentence what to do.

    The command line prints both and exits with 2; a traceback follows only under `debug=true`.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}\n{remedy}")
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        # The default would call UserError with the joined message alone when a worker process sends it back.
        return type(self), (self.what, self.remedy)
