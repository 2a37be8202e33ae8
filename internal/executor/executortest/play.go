package executortest

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// played is a command of Script while and after it is played.
//
// The language: statements end with ";" or a new line; words are quoted as in a
// shell; $NAME, ${NAME} and ${NAME+WORD} are replaced outside single quotes.
//
//	echo WORD...        prints a line; `err` prints it on standard error
//	printf FORMAT WORD  knows %s, %%, \n and \0
//	cat FILE            prints a file; `cat <<TAG` the lines up to TAG, variables replaced
//	print N             prints N bytes
//	write FILE WORD...  makes a file, relative to the source tree
//	export NAME=VALUE   sets a variable for this and later commands of the session; NAME=VALUE alone too
//	if [ -n WORD ]; then ...; else ...; fi    on one line
//	true, false, exit N
//	signal NAME N       ended by signal NAME with number N
//	oom                 killed at the memory limit
//	use SECONDS BYTES   adds to the usage
//	wait NAME           until the test calls Release(NAME), or Stop
//	hang                until Stop; `ignore` before it ignores SIGTERM
//	lose                the sandbox is lost here
//
// Any other word is "not found", exit code 127, which does not end the script.
type played struct {
	box  *fake
	cmd  ci.Command
	vars map[string]string
	done chan struct{}
	exit ci.Exit

	stop chan struct{} // closed when the command must end
	once sync.Once

	mu       sync.Mutex
	out      []byte
	grown    chan struct{}
	ignoring bool // SIGTERM
	killed   bool
}

func newPlayed(box *fake, c ci.Command) *played {
	p := &played{box: box, cmd: c, vars: map[string]string{}, done: make(chan struct{}), stop: make(chan struct{}), grown: make(chan struct{})}
	if c.Session != "" {
		for k, v := range box.vars[c.Session] {
			p.vars[k] = v
		}
	}
	for _, kv := range c.Env {
		k, v, _ := strings.Cut(kv, "=")
		p.vars[k] = v
	}
	return p
}

// play runs the script to its end.
func (p *played) play() {
	x := ci.Exit{}
	if text, code, ok := p.answered(); ok {
		p.print(text)
		x.Code = code
	} else {
		x = p.script(p.cmd.Script)
	}
	select {
	case <-p.stop:
		x = ci.Exit{Code: 143, Signal: "terminated"}
		if p.wasKilled() {
			x = ci.Exit{Code: 137, Signal: "killed"}
		}
	default:
	}
	x.Ended = time.Now()
	if p.cmd.Session != "" && x.Signal == "" {
		p.box.mu.Lock()
		p.box.vars[p.cmd.Session] = p.vars
		p.box.mu.Unlock()
	}
	p.mu.Lock()
	p.exit = x
	close(p.done)
	p.mu.Unlock()
}

func (p *played) answered() (string, int, bool) {
	if p.box.script.Answer == nil {
		return "", 0, false
	}
	return p.box.script.Answer(p.cmd)
}

func (p *played) wasKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

// stopping sends SIGTERM, and SIGKILL after grace to one that ignores it.
func (p *played) stopping(grace time.Duration) {
	p.mu.Lock()
	ignoring := p.ignoring
	p.mu.Unlock()
	if ignoring {
		select {
		case <-time.After(grace):
		case <-p.done:
			return
		}
		p.mu.Lock()
		p.killed = true
		p.mu.Unlock()
	}
	p.once.Do(func() { close(p.stop) })
}

func (p *played) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out = append(p.out, text...)
	close(p.grown)
	p.grown = make(chan struct{})
}

// script plays statements until one ends it.
func (p *played) script(text string) ci.Exit {
	last := ci.Exit{}
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if tag, ok := strings.CutPrefix(strings.TrimSpace(line), "cat <<"); ok {
			for i++; i < len(lines) && lines[i] != tag; i++ {
				p.print(p.expand(lines[i]) + "\n")
			}
			continue
		}
		x, ended := p.line(line)
		last = x
		if ended {
			return x
		}
	}
	return last
}

// line plays the statements of one line.
func (p *played) line(line string) (ci.Exit, bool) {
	if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "if [ -n "); ok {
		cond, rest, _ := strings.Cut(rest, " ]; then ")
		rest = strings.TrimSuffix(strings.TrimSpace(rest), "; fi")
		yes, no, _ := strings.Cut(rest, "; else ")
		if words := p.words(cond); len(words) == 0 || words[0] == "" {
			yes = no
		}
		return p.line(yes)
	}
	last := ci.Exit{}
	for _, s := range statements(line) {
		words := p.words(s)
		if len(words) == 0 {
			continue
		}
		x, ended := p.statement(words)
		last = x
		select {
		case <-p.stop:
			ended = true
		case <-p.box.lost:
			ended = true
		default:
		}
		if ended {
			return x, true
		}
	}
	return last, false
}

func (p *played) statement(w []string) (x ci.Exit, ended bool) {
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	text := strings.Join(w[1:], " ")
	switch w[0] {
	case "true", ":":
	case "false":
		x.Code = 1
	case "echo":
		p.print(text + "\n")
	case "err":
		if !p.cmd.Capture {
			p.print(text + "\n")
		}
	case "printf":
		f := strings.NewReplacer(`\n`, "\n", `\0`, "\x00", "%s", arg(2), "%%", "%").Replace(arg(1))
		p.print(f)
	case "print":
		n, _ := strconv.Atoi(arg(1))
		p.print(strings.Repeat("x", n))
	case "cat", "write":
		x.Code = p.file(w)
	case "export":
		p.assign(arg(1))
	case "exit":
		x.Code, _ = strconv.Atoi(arg(1))
		return x, true
	case "signal":
		n, _ := strconv.Atoi(arg(2))
		return ci.Exit{Code: 128 + n, Signal: arg(1)}, true
	case "oom":
		return ci.Exit{Code: 137, Signal: "killed", OOM: true, Usage: ci.Usage{OOMKills: 1}}, true
	case "use":
		p.use(arg(1), arg(2))
	case "ignore":
		p.mu.Lock()
		p.ignoring = true
		p.mu.Unlock()
	case "wait", "hang":
		p.wait(w)
	case "lose":
		p.box.script.Lose(p.box.job)
		return x, true
	default:
		if !p.assign(w[0]) {
			p.print("script: " + w[0] + ": not found\n")
			x.Code = 127
		}
	}
	return x, false
}

func (p *played) assign(word string) bool {
	k, v, ok := strings.Cut(word, "=")
	if ok {
		p.vars[k] = v
	}
	return ok
}

func (p *played) file(w []string) int {
	if len(w) < 2 {
		return 2
	}
	path := w[1]
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.box.dirs.Source, path)
	}
	if w[0] == "cat" {
		data, err := os.ReadFile(path)
		if err != nil {
			p.print(err.Error() + "\n")
			return 1
		}
		p.print(string(data))
		return 0
	}
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Join(w[2:], " ")+"\n"), 0o644)
	}
	if err != nil {
		p.print(err.Error() + "\n")
		return 1
	}
	return 0
}

func (p *played) use(seconds, bytes string) {
	s, _ := strconv.ParseFloat(seconds, 64)
	b, _ := strconv.ParseInt(bytes, 10, 64)
	p.box.mu.Lock()
	defer p.box.mu.Unlock()
	p.box.usage.CPUSeconds += s
	p.box.usage.PeakMemory = max(p.box.usage.PeakMemory, b)
}

func (p *played) wait(w []string) {
	var released chan struct{}
	if w[0] == "wait" && len(w) > 1 {
		g := p.box.script.gate(w[1])
		g.once.Do(func() { close(g.reached) })
		released = g.released
	}
	select {
	case <-released:
	case <-p.stop:
	case <-p.box.lost:
	}
}

// statements cuts a line at semicolons outside quotes.
func statements(line string) []string {
	var out []string
	quote, start := byte(0), 0
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == ';':
			out = append(out, line[start:i])
			start = i + 1
		}
	}
	return append(out, line[start:])
}

// words splits a statement, takes quotes away and puts values in.
func (p *played) words(s string) []string {
	var out []string
	var word strings.Builder
	quote, any := byte(0), false
	piece := 0
	flush := func(end int) {
		text := s[piece:end]
		if quote != '\'' {
			text = p.expand(text)
		}
		word.WriteString(text)
		piece = end + 1
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == quote:
			flush(i)
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			flush(i)
			quote, any = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			flush(i)
			if any || word.Len() > 0 {
				out = append(out, word.String())
			}
			word.Reset()
			any = false
		}
	}
	if piece <= len(s) {
		flush(len(s))
	}
	if any || word.Len() > 0 {
		out = append(out, word.String())
	}
	return out
}

// expand replaces variables.
func (p *played) expand(s string) string {
	return os.Expand(s, func(name string) string {
		name, word, plus := strings.Cut(name, "+")
		v, set := p.vars[name]
		if plus && set {
			return word
		}
		return v
	})
}

// playedOutput reads a played command's output.
type playedOutput struct {
	p      *played
	ctx    context.Context // of the Output call, whose end ends the reader
	cancel context.CancelFunc
	off    int64
}

func (o *playedOutput) Read(b []byte) (int, error) {
	for {
		o.p.mu.Lock()
		n := 0
		if o.off < int64(len(o.p.out)) {
			n = copy(b, o.p.out[o.off:])
		}
		grown := o.p.grown
		o.p.mu.Unlock()
		if n > 0 {
			o.off += int64(n)
			return n, nil
		}
		select {
		case <-o.p.done:
			o.p.mu.Lock()
			whole := o.off >= int64(len(o.p.out))
			o.p.mu.Unlock()
			if whole {
				return 0, io.EOF
			}
		case <-grown:
		case <-o.p.box.lost:
			return 0, fmt.Errorf("output of %s: %w", o.p.cmd.ID, o.p.box.gone())
		case <-o.ctx.Done():
			return 0, context.Cause(o.ctx)
		}
	}
}

func (o *playedOutput) Close() error {
	o.cancel()
	return nil
}
