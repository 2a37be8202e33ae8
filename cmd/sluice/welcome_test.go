package main

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// TestWelcomeOnATerminal: there the link is printed, and it is in no file.
func TestWelcomeOnATerminal(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "sluice")
	if err := os.Symlink(exe, link); err != nil {
		t.Fatal(err)
	}
	terminal, tty, err := pty.Open()
	if err != nil {
		t.Skip("no terminals: ", err)
	}
	defer func() { _ = terminal.Close() }()
	data := filepath.Join(t.TempDir(), "data")
	cmd := exec.Command(link, "serve", "--data", data, "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	cmd.Stderr = tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	stop := func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }
	defer stop()
	address := ""
	for lines := bufio.NewScanner(terminal); lines.Scan() && !strings.Contains(lines.Text(), "msg=ready"); {
		if text := strings.TrimSpace(lines.Text()); strings.HasPrefix(text, "http://") {
			address = text
		}
	}
	resp, err := http.Get(address)
	if err != nil {
		t.Fatalf("%q: %v", address, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("%s: got %s", address, resp.Status)
	}
	if _, err := os.Stat(filepath.Join(data, "admin-link")); !os.IsNotExist(err) {
		t.Errorf("the link is in a file as well: %v", err)
	}
}
