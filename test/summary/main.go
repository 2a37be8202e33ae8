// Summary reads the events of `go test -json` and shows them as `go test` would:
// a line for each package, the output of what failed, then every skipped test with
// its reason, and at the end one line with the counts.
//
//	go test -json ./... | summary [-strict] [-allow FILE]
//
// It exits 1 when a test failed, and with -strict also when one was skipped that
// FILE does not allow.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	strict := flag.Bool("strict", false, "fail when a test was skipped that is not allowed to be")
	allow := flag.String("allow", "", "`file` of skips that are meant: lines \"package test: why\"")
	flag.Parse()
	var allowed []rule
	if *allow != "" {
		f, err := os.Open(*allow)
		if err == nil {
			allowed, err = readRules(f)
			f.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "summary:", err)
			os.Exit(2)
		}
	}
	ok, err := summarize(bufio.NewReader(os.Stdin), os.Stdout, allowed, *strict)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// summarize says whether all is well.
func summarize(in *bufio.Reader, out io.Writer, allowed []rule, strict bool) (bool, error) {
	r := &results{out: out, allowed: allowed, output: map[string][]string{}}
	if err := r.read(in); err != nil {
		return false, err
	}
	return r.finish(strict), nil
}
