package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schema makes an empty schema in a PostgreSQL server, and gives its address and
// how to remove it.
func schema(ctx context.Context, server string) (address string, remove func() error, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", nil, fmt.Errorf("-postgres: %w", err)
	}
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", nil, err
	}
	name := "soak_" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(ctx, "CREATE SCHEMA "+name); err != nil {
		return "", nil, err
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String(), func() error {
		defer conn.Close(context.WithoutCancel(ctx))
		_, err := conn.Exec(context.WithoutCancel(ctx), "DROP SCHEMA "+name+" CASCADE")
		return err
	}, nil
}
