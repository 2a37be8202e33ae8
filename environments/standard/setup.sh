#!/bin/sh
# What packages alone do not do.
set -eu

# One name for the JDK whatever the architecture.
ln -sfn "$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")" /usr/lib/jvm/17

# As in CodeBuild's images, pip installs into the system's Python.
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED

# Repositories that belong to the user who checked them out, not to root.
git config --system --add safe.directory '*'

useradd --create-home --shell /bin/bash codebuild-user
