package main

import "testing"

func TestGreeting(t *testing.T) {
	for name, want := range map[string]string{
		"Ada":    "Hello, Ada!",
		" Ada\n": "Hello, Ada!",
		"":       "Hello!",
	} {
		t.Run(want, func(t *testing.T) {
			if got := greeting(name); got != want {
				t.Errorf("greeting(%q) = %q, want %q", name, got, want)
			}
		})
	}
}
