package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// A dump is text, a JSON value a line: what it is; then of each table its columns,
// its rows and how many they were, with their sum. It does not depend on which
// database it is from.
type (
	dumpHead struct {
		Format string `json:"format"`
		Schema int64  `json:"schema"`
	}
	dumpTable struct {
		Table   string   `json:"table"`
		Columns []string `json:"columns"`
		Last    int64    `json:"last,omitempty"` // number given by a {serial} column
	}
	dumpEnd struct {
		End  string `json:"end"`
		Rows int64  `json:"rows"`
		Sum  string `json:"sum"`
	}
	dumpDone struct {
		Done   bool `json:"done"`
		Tables int  `json:"tables"`
	}
	// dumpText is a text that is not UTF-8, or bytes.
	dumpText struct {
		Text  *string `json:"text,omitempty"`
		Bytes *string `json:"bytes,omitempty"`
	}
)

const dumpFormat = "sluice tables 1"

// Copied says how many rows of each table were copied.
type Copied struct {
	Schema int64            `json:"schema"`
	Rows   map[string]int64 `json:"rows"`
}

// Dump writes all tables.
func (s *Snapshot) Dump(ctx context.Context, w io.Writer) (Copied, error) {
	done := Copied{Schema: s.version, Rows: map[string]int64{}}
	out := bufio.NewWriterSize(w, 256<<10)
	line := func(v any) error {
		text, err := json.Marshal(v)
		if err == nil {
			_, err = out.Write(append(text, '\n'))
		}
		return err
	}
	list, err := tableList(ctx, s.dialect, s.conn)
	if err == nil {
		err = line(dumpHead{dumpFormat, s.version})
	}
	for _, t := range list {
		if err != nil || !t.copied() {
			continue
		}
		var last int64
		if last, err = s.dialect.last(ctx, s.conn, t.name); err == nil {
			err = line(dumpTable{t.name, t.columns, last})
		}
		if err != nil {
			break
		}
		var end dumpEnd
		if end, err = readTable(ctx, s.conn, t, func(row []any) error { return writeRow(out, row) }); err == nil {
			done.Rows[t.name] = end.Rows
			err = line(end)
		}
	}
	if err == nil {
		err = line(dumpDone{true, len(done.Rows)})
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return done, fmt.Errorf("copy the database: %w", err)
	}
	return done, nil
}

// readTable gives the rows of a table, and what they come to.
func readTable(ctx context.Context, c *sql.Conn, t tableShape, row func([]any) error) (dumpEnd, error) {
	end := dumpEnd{End: t.name}
	rows, err := c.QueryContext(ctx, "SELECT "+quoted(t.columns)+" FROM "+quoted([]string{t.name}))
	if err != nil {
		return end, err
	}
	values := make([]any, len(t.columns))
	into := make([]any, len(values))
	for i := range values {
		into[i] = &values[i]
	}
	var sum rowSum
	err = each(rows, func(r *sql.Rows) error {
		if err := r.Scan(into...); err != nil {
			return err
		}
		if err := sum.add(values); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
		end.Rows++
		return row(values)
	})
	end.Sum = sum.text()
	return end, err
}

// quoted lists names of tables or columns.
func quoted(names []string) string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return strings.Join(list, ", ")
}

func writeRow(w io.Writer, values []any) error {
	text, err := rowText(values)
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}

func rowText(values []any) ([]byte, error) {
	shown := make([]any, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil, int64:
			shown[i] = v
		case string:
			shown[i] = v
			if !utf8.ValidString(v) {
				text := base64.StdEncoding.EncodeToString([]byte(v))
				shown[i] = dumpText{Text: &text}
			}
		case []byte:
			text := base64.StdEncoding.EncodeToString(v)
			shown[i] = dumpText{Bytes: &text}
		default:
			return nil, fmt.Errorf("column %d has a value of type %T; columns are BIGINT, TEXT or bytes", i+1, v)
		}
	}
	return json.Marshal(shown)
}

// rowValues undoes rowText.
func rowValues(text []byte) ([]any, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, err
	}
	values := make([]any, len(raw))
	for i, r := range raw {
		var err error
		switch {
		case string(r) == "null":
		case r[0] == '"':
			var s string
			err = json.Unmarshal(r, &s)
			values[i] = s
		case r[0] == '{':
			var t dumpText
			if err = json.Unmarshal(r, &t); err != nil {
				break
			}
			var b []byte
			switch {
			case t.Text != nil && t.Bytes == nil:
				b, err = base64.StdEncoding.DecodeString(*t.Text)
				values[i] = string(b)
			case t.Bytes != nil && t.Text == nil:
				b, err = base64.StdEncoding.DecodeString(*t.Bytes)
				values[i] = b
			default:
				err = fmt.Errorf("column %d is neither text nor bytes", i+1)
			}
		default:
			var n int64
			err = json.Unmarshal(r, &n)
			values[i] = n
		}
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

// rowSum adds the SHA-256 of rows up, so that their order does not matter.
type rowSum [4]uint64

func (s *rowSum) add(values []any) error {
	text, err := rowText(values)
	if err != nil {
		return err
	}
	h := sha256.Sum256(text)
	var carry uint64
	for i := 3; i >= 0; i-- {
		var n uint64
		for _, b := range h[8*i : 8*i+8] {
			n = n<<8 | uint64(b)
		}
		s[i], carry = bits.Add64(s[i], n, carry)
	}
	return nil
}

func (s *rowSum) text() string {
	var b []byte
	for _, n := range s {
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(n>>shift))
		}
	}
	return hex.EncodeToString(b)
}
