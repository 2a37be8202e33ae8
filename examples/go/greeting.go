package main

import "strings"

// greeting is what to say to a person of that name.
func greeting(name string) string {
	name = strings.TrimSpace(name)
	if name == "" {
		return "Hello!"
	}
	return "Hello, " + name + "!"
}
