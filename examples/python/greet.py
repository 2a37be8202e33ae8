"""Greets people."""


def greeting(name: str) -> str:
    """What to say to a person of that name."""
    name = name.strip()
    return f"Hello, {name}!" if name else "Hello!"


if __name__ == "__main__":
    import sys

    for argument in sys.argv[1:]:
        print(greeting(argument))
