package warehouse

import (
	"bytes"
	"math"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
)

// Mismatch says what becomes of a row with another number of fields than the table has
// columns.
type Mismatch string

// The ways. The first, Hive's, is that of external tables which say nothing.
const (
	MismatchFit  Mismatch = ""     // NULL in the place of missing fields, and what is too much is left out
	MismatchFill Mismatch = "fill" // NULL in the place of missing fields; too many are malformed
	MismatchDrop Mismatch = "drop" // malformed either way
)

// fitter brings the rows of a text to what the engine reads: as many fields as there are
// columns, quotes in quotes behind an escape, line ends of one kind, and dates in the
// engine's form where the format says auto. Rows that are so already stay untouched.
type fitter struct {
	delimiter, quote, escape byte // 0: none
	mismatch                 Mismatch
	missing                  [][]byte // by column: what stands for NULL
	dates                    []func(string) (string, bool)
	lone                     []byte // stands for a carriage return that ends no line

	out      []byte
	inQuotes bool // a quoted field goes on in the next line
	fields   int  // of the row so far
	field    int  // where in out the field begins
	changed  bool // some row of the object was
}

// privateMark writes a text of ours that the table's delimiter is not in.
func privateMark(delimiter, word string) string {
	if delimiter == "\x01" {
		return "\x02" + word + "\x02"
	}
	return "\x01" + word + "\x01"
}

// null is what stands for NULL in character columns on the way to the engine, which would
// take a marker for an escape or an ordinary value.
func (x *External) null() string { return privateMark(x.Delimiter, "null") }

// carriageReturn stands for one that ends no line: the engine knows no other kind.
func (x *External) carriageReturn() string { return privateMark(x.Delimiter, "cr") }

func newFitter(x External, columns []Column) *fitter {
	f := &fitter{mismatch: x.Mismatch, lone: []byte(x.carriageReturn())}
	if x.Strict && f.mismatch == MismatchFit {
		f.mismatch = MismatchDrop
	}
	for to, from := range map[*byte]string{&f.delimiter: x.Delimiter, &f.quote: x.Quote, &f.escape: x.Escape} {
		if from != "" {
			*to = from[0]
		}
	}
	for _, c := range columns {
		missing := ""
		if c.Engine == "VARCHAR" {
			missing = x.null()
		}
		f.missing = append(f.missing, []byte(missing))
		f.dates = append(f.dates, dateReader(x, c))
	}
	if !hasReader(f.dates) {
		f.dates = nil
	}
	return f
}

func hasReader(readers []func(string) (string, bool)) bool {
	for _, r := range readers {
		if r != nil {
			return true
		}
	}
	return false
}

// fit rewrites the rows of a block.
func (f *fitter) fit(b *block) {
	if i := bytes.IndexByte(b.buf, '\r'); i >= 0 { // line ends are of one kind already
		b.buf = bytes.ReplaceAll(b.buf, []byte{'\r'}, f.lone)
		f.changed = true
	}
	f.out = f.out[:0]
	f.field = math.MaxInt // a field that goes on from another block is not looked at
	done := 0             // of b.buf, up to which out holds everything
	for start := 0; start < len(b.buf); {
		end := start + bytes.IndexByte(b.buf[start:], '\n')
		line := b.buf[start:end]
		if len(line) > 0 && !f.simple(line) {
			f.out = append(f.out, b.buf[done:start]...)
			f.line(line)
			done = end
		}
		start = end + 1
	}
	if done == 0 {
		return
	}
	f.changed = true
	f.out = append(f.out, b.buf[done:]...)
	b.buf, f.out = f.out, b.buf
}

// simple reports that a line is a whole row in which there is nothing to change.
func (f *fitter) simple(line []byte) bool {
	return !f.inQuotes && f.fields == 0 && f.dates == nil &&
		(f.quote == 0 || bytes.IndexByte(line, f.quote) < 0) && (f.escape == 0 || bytes.IndexByte(line, f.escape) < 0) &&
		bytes.Count(line, []byte{f.delimiter}) == len(f.missing)-1
}

// line appends a line, brought to form.
func (f *fitter) line(line []byte) {
	row := len(f.out)
	if f.fields == 0 && !f.inQuotes {
		f.field = row
	}
	extra := -1 // where in out the fields begin that are too much
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case f.quote != 0 && c == f.quote && f.inQuotes && f.escape != f.quote && i+1 < len(line) && line[i+1] == f.quote:
			f.out = append(f.out, f.doubled()...)
			i++
			continue
		case f.escape != 0 && c == f.escape && f.escape != f.quote && i+1 < len(line):
			f.out = append(f.out, c, line[i+1])
			i++
			continue
		case f.quote != 0 && c == f.quote:
			f.inQuotes = !f.inQuotes
		case c == f.delimiter && !f.inQuotes:
			f.endField()
			if f.fields++; f.fields == len(f.missing) && extra < 0 {
				extra = len(f.out)
			}
			f.out = append(f.out, c)
			f.field = len(f.out)
			continue
		}
		f.out = append(f.out, c)
	}
	if f.inQuotes { // the field holds a line end
		return
	}
	f.endField()
	f.endRow(row, extra)
}

// doubled is a quote within quotes as the engine reads it.
func (f *fitter) doubled() []byte {
	if f.escape == 0 {
		return []byte{f.quote, f.quote}
	}
	return []byte{f.escape, f.quote}
}

// endField brings the field that ends here to the engine's form, where it is a date.
func (f *fitter) endField() {
	if f.dates == nil || f.fields >= len(f.dates) || f.dates[f.fields] == nil || f.field > len(f.out) {
		return
	}
	raw := f.out[f.field:]
	if f.quote != 0 && len(raw) > 1 && raw[0] == f.quote && raw[len(raw)-1] == f.quote {
		raw = raw[1 : len(raw)-1]
	}
	if s, ok := f.dates[f.fields](string(raw)); ok { // what cannot be read is left for the engine to refuse
		f.out = append(f.out[:f.field], s...)
	}
}

func (f *fitter) endRow(row, extra int) {
	fields := f.fields + 1
	f.fields = 0
	switch {
	case fields > len(f.missing) && f.mismatch == MismatchFit && extra >= 0:
		f.out = f.out[:extra]
	case fields > len(f.missing) && f.escape != 0 && f.quote == 0 && extra >= 0 && len(f.missing) > 1:
		// Without quotes and with an escape the engine lets such a row pass; one that is too
		// short it refuses.
		if end := bytes.IndexByte(f.out[row:], f.delimiter); end >= 0 {
			f.out = f.out[:row+end]
		}
	case fields < len(f.missing) && f.mismatch != MismatchDrop:
		for _, missing := range f.missing[fields:] {
			f.out = append(append(f.out, f.delimiter), missing...)
		}
	}
}

// The formats of dates and timestamps that the feed reads, not the engine.
const (
	formatAuto        = "auto"
	formatEpochSecs   = "epochsecs"
	formatEpochMillis = "epochmillisecs"
)

// dateReader returns what brings a column's values to the engine's form, nil where the
// engine reads them itself.
func dateReader(x External, c Column) func(string) (string, bool) {
	in := pgtext.Reader{Zone: time.UTC, Now: time.Now}
	isDate, isInstant := c.Engine == "DATE", c.Engine == "TIMESTAMP" || c.Engine == "TIMESTAMPTZ"
	format := x.TimeFormat
	if isDate {
		format = x.DateFormat
	}
	switch {
	case isDate && format == formatAuto:
		return func(s string) (string, bool) {
			v, err := in.Timestamp(s)
			return engineDate(v), s != "" && err == nil
		}
	case isInstant && format == formatAuto:
		return func(s string) (string, bool) {
			read := in.Timestamp
			if c.Engine == "TIMESTAMPTZ" {
				read = in.TimestampTZ
			}
			v, err := read(s)
			return engineInstant(v), s != "" && err == nil
		}
	case isInstant && (format == formatEpochSecs || format == formatEpochMillis):
		scale := 1e6
		if format == formatEpochMillis {
			scale = 1e3
		}
		return func(s string) (string, bool) {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || v*scale > 9e18 || v*scale < -9e18 || v != v {
				return "", false
			}
			return engineInstant(int64(v * scale)), true
		}
	}
	return nil
}

func engineDate(micros int64) string {
	s := engineInstant(micros)
	if len(s) < len("2006-01-02") || s[0] == '-' || s[0] == 'i' {
		return s
	}
	return s[:len("2006-01-02")]
}

// engineInstant writes a timestamp as the engine's reader of text takes it.
func engineInstant(micros int64) string {
	s := instantText(micros)
	return string(bytes.TrimSuffix([]byte(s), []byte("+00")))
}
