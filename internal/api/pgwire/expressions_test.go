package pgwire_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"sluice.dev/sluice/internal/api/pgwire"
)

// answer is the text of a query's result, or its error.
func answer(c *pgconn.PgConn, sql string) string {
	results, err := c.Exec(context.Background(), sql).ReadAll()
	if err != nil {
		return "error " + code(err)
	}
	var b strings.Builder
	for _, row := range results[len(results)-1].Rows {
		for i, v := range row {
			if i > 0 {
				b.WriteString(" | ")
			}
			b.WriteString(shown(v))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestExpressionsAsPostgreSQL asks a real PostgreSQL and the warehouse the same things.
// In testdata/expressions.txt each line is a query, or an expression to select. A line
// "! reason" before one says that the answers differ and why: that they do is checked too,
// and that docs/differences.md says it.
func TestExpressionsAsPostgreSQL(t *testing.T) {
	text, err := os.ReadFile("testdata/expressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	theirs := oracle(t).PgConn()
	ours := connect(t, serve(t, pgwire.Config{})).PgConn()
	for _, c := range []*pgconn.PgConn{theirs, ours} {
		if _, err := c.Exec(t.Context(), "set timezone = 'America/New_York'").ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	asked, different, reason := 0, 0, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '!' {
			reason = strings.TrimSpace(line[1:])
			continue
		}
		sql := line
		if first, _, _ := strings.Cut(line, " "); first != "select" && first != "with" && first != "values" {
			sql = "select " + line
		}
		want, got := answer(theirs, sql), answer(ours, sql)
		asked++
		switch {
		case reason == "" && got != want:
			_, err := ours.Exec(t.Context(), sql).ReadAll()
			t.Errorf("%s\n got %s\nwant %s\n%v", line, got, want, err)
		case reason != "" && got == want:
			t.Errorf("%s is no difference any more: %s", line, reason)
		case reason != "":
			different++
		}
		reason = ""
	}
	t.Logf("%d asked, %d known differences", asked, different)
}
