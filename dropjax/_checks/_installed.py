"""Packages that a part of dropjax needs, and the rest of it does not."""


def missing_package_error(
    error: ModuleNotFoundError, package: str, needed_by: str
) -> ModuleNotFoundError:
    """What to install where a package is missing; the error itself for any other."""
    if error.name != package:
        return error
    return ModuleNotFoundError(
        f"{needed_by} needs {package}, which is not installed; install it with "
        f"pip install {package}",
        name=package,
    )
