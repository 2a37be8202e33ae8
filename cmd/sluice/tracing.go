package main

import (
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/trace"
)

// trace tells a collector what builds did, if there is one.
func (s *server) trace(ctx context.Context) error {
	if s.cfg.otlp == "" {
		<-ctx.Done()
		return nil
	}
	header, err := headersIn(s.cfg.otlpHeaders)
	if err != nil {
		return err
	}
	c := trace.Config{Store: s.db, URL: s.cfg.otlp, Header: header, Version: version, Log: s.log}
	if strings.HasPrefix(s.cfg.database, "postgres") {
		if c.Lease, err = s.leaseOf("traces"); err != nil {
			return err
		}
	}
	x, err := trace.New(c)
	if err != nil {
		return err
	}
	return x.Run(ctx)
}

// traceParent tells commands in which trace they are, if anybody hears of it.
func (s *server) traceParent(a ci.Assignment) []ci.Variable {
	if s.cfg.otlp == "" {
		return nil
	}
	return []ci.Variable{{Name: "TRACEPARENT", Value: trace.Parent(a.Run.ID)}}
}

// headersIn reads lines such as "Authorization: Bearer TOKEN". What is wrong is
// said without what the line holds, which is a secret.
func headersIn(name string) (http.Header, error) {
	header := http.Header{}
	if name == "" {
		return header, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usagef("--otlp-headers: %w", err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, ":")
		key = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(key))
		if !ok || key == "" || strings.ContainsAny(key, " \t\"()<>@,;\\/[]?={}") {
			return nil, &exitError{code: exitUsage, err: fmt.Errorf("--otlp-headers %s:%d: want a header, such as 'Authorization: Bearer TOKEN'", name, n)}
		}
		header.Add(key, strings.TrimSpace(value))
	}
	return header, nil
}
