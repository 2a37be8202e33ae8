#!/bin/sh
# Greets people.
echo "Hello, ${1:-you}!"
