"""Fetches packages and unpacks them without installing anything.

Debian packages come through `apt-get download` with the machine's own sources,
Python wheels through `pip download` with pip's own settings.
"""

import os
import pathlib
import subprocess
import sys
import zipfile


class FetchError(RuntimeError):
    """A package could not be had; the message says what to do."""


def _run(command: list, directory: pathlib.Path) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(command, cwd=directory, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise FetchError(f"{command[0]}: not on this machine, wanted Debian or a"
                         " derivative of it") from error


def _tail(result: subprocess.CompletedProcess) -> str:
    lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
    return "\n  ".join(lines[-5:])


def fetch_debian(names: list, directory: pathlib.Path) -> dict:
    """Downloads the newest version of each package that the machine's sources
    offer and unpacks it under `directory`; returns name -> folder. Needs no
    privileges: where the package lists are missing or stale, fresh ones are
    fetched into `directory` and not into the system."""
    archives = directory / "debian-archives"
    archives.mkdir(parents=True)
    # The unprivileged download user could not write into a private folder.
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=" + ("root" if os.geteuid() == 0 else "")]
    result = _run([*command, "download", *names], archives)
    if result.returncode != 0:
        for archive in archives.glob("*.deb"):
            archive.unlink()
        state, cache = directory / "apt-state", directory / "apt-cache"
        (state / "lists/partial").mkdir(parents=True)
        (cache / "archives/partial").mkdir(parents=True)
        command += ["-o", f"Dir::State={state}", "-o", f"Dir::Cache={cache}",
                    "-o", "Dir::State::status=/var/lib/dpkg/status"]
        result = _run([*command, "update"], archives)
        if result.returncode == 0:
            result = _run([*command, "download", *names], archives)
    if result.returncode != 0:
        raise FetchError(f"apt-get download {' '.join(names)}: exit code {result.returncode},"
                         " wanted the packages; check the network and the sources of apt\n  "
                         + _tail(result))
    folders = {}
    for name in names:
        found = sorted(archives.glob(f"{name}_*.deb"))
        if len(found) != 1:
            raise FetchError(f"apt-get download {name}: got {len(found)} files, wanted 1")
        folders[name] = directory / "debian" / name
        folders[name].mkdir(parents=True)
        result = _run(["dpkg-deb", "-x", str(found[0]), str(folders[name])], directory)
        if result.returncode != 0:
            raise FetchError(f"dpkg-deb -x {found[0].name}: exit code {result.returncode},"
                             " wanted a package; is the disk full?\n  " + _tail(result))
    return folders


def fetch_wheel(requirement: str, directory: pathlib.Path) -> pathlib.Path:
    """Downloads the wheel of one exact requirement (`name==version`), without
    its dependencies, and unpacks it; returns the folder."""
    target = directory / "wheels" / requirement
    target.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "-q",
               "--no-deps", "--only-binary=:all:", "--dest", str(target), requirement]
    result = _run(command, target)
    wheels = sorted(target.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        raise FetchError(f"pip download {requirement}: exit code {result.returncode} and"
                         f" {len(wheels)} wheels, wanted 1; check the network and pip's"
                         " settings\n  " + _tail(result))
    unpacked = target / "unpacked"
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(unpacked)
    wheels[0].unlink()
    return unpacked


def debian_versions(directory: pathlib.Path) -> dict:
    """Name -> version of what fetch_debian() left in `directory`; colons of
    epochs are escaped in file names."""
    return {name: version.replace("%3a", ":") for name, version, _ in
            (path.name.split("_", 2) for path in (directory / "debian-archives").glob("*.deb"))}
