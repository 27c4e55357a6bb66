package pgwire_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"sluice.dev/sluice/internal/api/pgwire"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// sample makes the text of a random value of a type. Its first values are the edges.
type sample struct {
	kind  string
	edges []string
	value func(r *rand.Rand) string
}

// pick returns one of the choices.
func pick(r *rand.Rand, choices ...string) string { return choices[r.IntN(len(choices))] }

func clockTime(r *rand.Rand) string {
	s := fmt.Sprintf("%02d:%02d:%02d", r.IntN(24), r.IntN(60), r.IntN(60))
	return s + pick(r, "", fmt.Sprintf(".%06d", r.IntN(1_000_000)), fmt.Sprintf(".%03d", r.IntN(1000)))
}

func day(r *rand.Rand) string {
	year := pick(r, strconv.Itoa(1+r.IntN(9)), fmt.Sprint(1500+r.IntN(1000)), fmt.Sprint(1999+r.IntN(30)), fmt.Sprint(10_000+r.IntN(80_000)))
	return fmt.Sprintf("%04s-%02d-%02d", year, 1+r.IntN(12), 1+r.IntN(28))
}

// word is text of up to n characters, among them some of several bytes.
func word(r *rand.Rand, n int) string {
	letters := []rune("ab'\\\"{},; \t\nÄß漢🜁%_0\r")
	var b strings.Builder
	for range r.IntN(n + 1) {
		b.WriteRune(letters[r.IntN(len(letters))])
	}
	return b.String()
}

func digits(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + r.IntN(10))
	}
	return string(b)
}

var samples = []sample{
	{"boolean", []string{"true", "false"}, func(r *rand.Rand) string { return pick(r, "t", "f", "true", "false", "1", "0") }},
	{"smallint", []string{"0", "-32768", "32767"}, func(r *rand.Rand) string { return strconv.Itoa(int(int16(r.Uint32()))) }},
	{"integer", []string{"0", "-2147483648", "2147483647"}, func(r *rand.Rand) string { return strconv.Itoa(int(int32(r.Uint32()))) }},
	{"bigint", []string{"0", "-9223372036854775808", "9223372036854775807"}, func(r *rand.Rand) string { return strconv.FormatInt(int64(r.Uint64()), 10) }},
	{"real", []string{"0", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e+38", "1000000", "999999.94", "0.0001", "0.00001"},
		func(r *rand.Rand) string {
			return strconv.FormatFloat((r.Float64()-0.5)*float64(float32(1))*pow10(r.IntN(20)-10), 'g', -1, 32)
		}},
	{"double precision", []string{"0", "-0", "NaN", "Infinity", "-Infinity", "5e-324", "1.7976931348623157e+308", "1e15", "999999999999999.9", "123456789012345680", "0.0001", "0.00001"},
		func(r *rand.Rand) string {
			return strconv.FormatFloat((r.Float64()-0.5)*pow10(r.IntN(60)-30), 'g', -1, 64)
		}},
	{"numeric(38,10)", []string{"0", "-0", "0.0000000001", "-9999999999999999999999999999.9999999999", "10000", "100000000", "12345.6789"},
		func(r *rand.Rand) string {
			return pick(r, "", "-") + digits(r, 1+r.IntN(28)) + "." + digits(r, 1+r.IntN(10))
		}},
	{"numeric(5,0)", []string{"0", "99999", "-10000"}, func(r *rand.Rand) string { return strconv.Itoa(r.IntN(199_999) - 99_999) }},
	{"text", []string{"", " ", "\x01", "NULL", `\N`}, func(r *rand.Rand) string { return word(r, 20) }},
	{"varchar", []string{""}, func(r *rand.Rand) string { return word(r, 3) }},
	{"bytea", []string{`\x`, `\x00`, `\xff00`}, func(r *rand.Rand) string {
		b := make([]byte, r.IntN(20))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return `\x` + hex.EncodeToString(b)
	}},
	{"date", []string{"1970-01-01", "2000-01-01", "1999-12-31", "0001-01-01", "infinity", "-infinity", "2024-02-29", "0044-03-15 BC", "4713-01-01 BC"}, day},
	{"time", []string{"00:00:00", "23:59:59.999999", "00:00:00.1"}, clockTime},
	{"timestamp", []string{"1970-01-01 00:00:00", "2000-01-01 00:00:00", "1999-12-31 23:59:59.999999", "0001-01-01 00:00:00", "infinity", "-infinity", "0044-03-15 12:00:00 BC"},
		func(r *rand.Rand) string { return day(r) + pick(r, " ", "T") + clockTime(r) }},
	{"timestamptz", []string{"1970-01-01 00:00:00+00", "1888-01-01 00:00:00+00", "infinity", "-infinity", "0044-03-15 12:00:00+00 BC"},
		func(r *rand.Rand) string {
			return day(r) + " " + clockTime(r) + pick(r, "Z", "+00", "-08", "+05:30", "-03:30", "+1400")
		}},
	{"interval", []string{"0", "1 year", "-1 year", "1 mon -1 day", "-1 mon +1 day -00:00:01", "1 day -01:00:00", "100:00:00", "-00:00:00.5", "1 year 1 mon 1 day 1 hour"},
		func(r *rand.Rand) string {
			n := func(limit int) int { return r.IntN(2*limit) - limit }
			return fmt.Sprintf("%d years %d mons %d days %s%d:%02d:%02d", n(3), n(12), n(40), pick(r, "", "-"), r.IntN(200), r.IntN(60), r.IntN(60))
		}},
	{"uuid", []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}, func(r *rand.Rand) string {
		return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<16), r.IntN(1<<16), r.Uint64()>>16)
	}},
	{"json", []string{"{}", "[]", `""`, "0"}, func(r *rand.Rand) string {
		return fmt.Sprintf(`{"a": [%d, null], "b":"%s"}`, r.IntN(10), digits(r, r.IntN(3)))
	}},
}

func pow10(n int) float64 {
	v := 1.0
	for range max(n, -n) {
		v *= 10
	}
	if n < 0 {
		return 1 / v
	}
	return v
}

// literals returns n rows of one value per sample, in a shuffled order of types, and
// NULLs among them.
func literals(r *rand.Rand, n int) (kinds []string, rows [][]*string) {
	order := r.Perm(len(samples))
	for _, k := range order {
		kinds = append(kinds, samples[k].kind)
	}
	for i := range n {
		row := make([]*string, len(order))
		for j, k := range order {
			v := samples[k].value(r)
			if i < len(samples[k].edges) {
				v = samples[k].edges[i]
			} else if r.IntN(8) == 0 {
				continue
			}
			row[j] = &v
		}
		rows = append(rows, row)
	}
	return kinds, rows
}

func selectOf(kinds []string, rows [][]*string) string {
	var b strings.Builder
	for i, row := range rows {
		if i > 0 {
			b.WriteString(" union all ")
		}
		fmt.Fprintf(&b, "select %d as n", i)
		for j, v := range row {
			literal := "NULL"
			if v != nil {
				literal = "'" + strings.ReplaceAll(*v, "'", "''") + "'"
			}
			fmt.Fprintf(&b, ", %s::%s as c%d", literal, kinds[j], j)
		}
	}
	return b.String() + " order by n"
}

// way is one of the ways in which a client asks and takes its answer.
type way struct {
	name string
	rows func(c *pgconn.PgConn, sql string) ([][][]byte, error)
}

func extendedWay(name string, format int16) way {
	return way{name, func(c *pgconn.PgConn, sql string) ([][][]byte, error) {
		result := c.ExecParams(context.Background(), sql, nil, nil, nil, []int16{format}).Read()
		return result.Rows, result.Err
	}}
}

var ways = []way{
	{"simple", func(c *pgconn.PgConn, sql string) ([][][]byte, error) {
		results, err := c.Exec(context.Background(), sql).ReadAll()
		if err != nil {
			return nil, err
		}
		return results[len(results)-1].Rows, nil
	}},
	extendedWay("text", 0),
	extendedWay("binary", 1),
}

// oracle connects to a real PostgreSQL.
func oracle(t *testing.T) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dbtest.Postgres(t).URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func shown(v []byte) string {
	if v == nil {
		return "NULL"
	}
	return strconv.Quote(string(v))
}

// TestValuesAsPostgreSQL sends random rows of every type through the simple and the
// extended protocol, in text and in binary, and expects PostgreSQL's own bytes. Then each
// binary value goes back as a parameter, in both formats.
func TestValuesAsPostgreSQL(t *testing.T) {
	theirs := oracle(t).PgConn()
	ours := connect(t, serve(t, pgwire.Config{})).PgConn()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for round, zone := range []string{"UTC", "UTC", "America/New_York", "Europe/Amsterdam", "Asia/Kolkata"} {
		for _, c := range []*pgconn.PgConn{theirs, ours} {
			if _, err := c.Exec(t.Context(), "set timezone = '"+zone+"'").ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
		kinds, literal := literals(r, 30)
		sql := selectOf(kinds, literal)
		answers := map[string][][][]byte{}
		for _, w := range ways {
			want, err := w.rows(theirs, sql)
			if err != nil {
				t.Fatalf("PostgreSQL: %v\n%s", err, sql)
			}
			got, err := w.rows(ours, sql)
			if err != nil {
				t.Fatalf("%v\n%s", err, sql)
			}
			answers[w.name] = want
			if len(got) != len(want) {
				t.Fatalf("%s: %d rows, want %d", w.name, len(got), len(want))
			}
			for i, row := range want {
				for j := range kinds {
					if g, w2 := got[i][j+1], row[j+1]; !bytes.Equal(g, w2) || (g == nil) != (w2 == nil) {
						t.Errorf("round %d, %s, '%s'::%s: got %s, want %s", round, w.name, *literal[i][j], kinds[j], shown(g), shown(w2))
					}
				}
			}
		}
		if round > 0 && zone == "UTC" {
			continue
		}
		var items []string
		for j, kind := range kinds {
			kind, _, _ = strings.Cut(kind, "(")
			items = append(items, fmt.Sprintf("$%d::%s, $%d::%s is null", j+1, kind, j+1, kind))
		}
		for format, way := range []string{"text", "binary"} {
			for i := range literal {
				in := answers[way][i][1:]
				f := []int16{int16(format)}
				result := ours.ExecParams(t.Context(), "select "+strings.Join(items, ", "), in, nil, f, f).Read()
				if result.Err != nil {
					t.Fatalf("%s parameters: %v", way, result.Err)
				}
				for j := range kinds {
					if out := result.Rows[0][2*j]; !bytes.Equal(out, in[j]) || (out == nil) != (in[j] == nil) {
						t.Errorf("%s parameter %s::%s came back as %s", way, shown(in[j]), kinds[j], shown(out))
					}
				}
			}
		}
	}
}
