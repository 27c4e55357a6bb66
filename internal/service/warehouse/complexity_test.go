package warehouse_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/warehouse"
)

// What a statement takes to be rewritten grows with its size and not with the square of it:
// nothing ends the rewriting but its end. With the square, each of these took minutes.
func TestRewritingIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("builds large statements")
	}
	const n = 100_000
	again := func(s string) string { return strings.Repeat(s, n) }
	for name, sql := range map[string]string{
		"casts":            "select 1" + again("::int::bigint"),
		"casts to char":    "select 1" + again("::char(3)"),
		"names":            "select " + again("a.") + "a::char(3)",
		"subscripts":       "select " + again("a[") + again("]::char(3)"),
		"parentheses":      "select " + again("(") + "1" + again(")::char(3)"),
		"unended":          "select " + again("cast("),
		"calls of cast":    "select " + again("cast(") + "1" + again(" as char(3))"),
		"calls of overlay": "select " + again("overlay(a placing b from ") + again(")"),
		"calls of series":  "select " + again("generate_series(1,"),
		"cases":            "select " + again("case ") + again("end::char(3) "),
		"patterns":         "select " + again("a like ("),
		"patterns of sums": "select " + again("a like + "),
		"tops":             again("select top 1 ("),
		"tops in a row":    again("select top 1 x "),
		"operators":        "select " + again("operator(pg_catalog."),
		"numerics":         "select " + again("1::numeric, ") + "1",
	} {
		began := time.Now()
		_, _, err := warehouse.Rewrite(sql, nil)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: %d bytes took %v", name, len(sql), took)
		}
		if err != nil && !warehouse.ProgramLimitExceeded.Is(err) && !warehouse.FeatureNotSupported.Is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
