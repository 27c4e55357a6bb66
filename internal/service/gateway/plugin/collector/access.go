package collector

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/gateway"
)

// batch is the work space of one request. It is reused.
type batch struct {
	home    *sync.Pool // where Close puts it
	event   event
	out     []byte // the records' values, end to end
	ends    []int
	keys    []byte
	keyEnds []int
	ids     []byte
	idEnds  []int
	records []Record
	answer  []byte
	stamp   [32]byte
	// doubtful: the appender failed and may be in the midst of something still. The work
	// space is not used again.
	doubtful bool
}

// maxKept is the largest work space kept for another request.
const maxKept = 1 << 20

func (b *batch) reset() {
	if cap(b.out) > maxKept {
		*b = batch{home: b.home}
	}
	b.out, b.ends, b.keys, b.keyEnds = b.out[:0], b.ends[:0], b.keys[:0], b.keyEnds[:0]
	b.ids, b.idEnds, b.answer = b.ids[:0], b.idEnds[:0], b.answer[:0]
	clear(b.records)
	b.records = b.records[:0]
}

var gif = []byte("GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x01D\x00;")

type batchKey struct{}

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	b, _ := in.batches.Get().(*batch)
	if b == nil {
		b = &batch{home: &in.batches}
	}
	b.reset()
	// The answer is memory of the batch, and plugins of the log phase may read it: the
	// exchange closes the batch when nothing can any more.
	x.Put(batchKey{}, b)
	accepted := in.collect(x, b)
	if in.deps.Count != nil {
		in.deps.Count(Outcome{Stream: in.stream, Accepted: accepted, Status: x.Response.Status})
	}
}

// Close gives the batch back, once, when the exchange has ended. One whose records may
// still be read by an append that was given up is left to the garbage collector.
func (b *batch) Close() error {
	if home := b.home; home != nil && !b.doubtful {
		home.Put(b)
	}
	return nil
}

// collect answers the request and returns how many events were appended.
func (in *instance) collect(x *gateway.Exchange, b *batch) int {
	if in.inFlight.Add(1) > in.maxFlight {
		in.inFlight.Add(-1)
		in.busy(x)
		return 0
	}
	defer in.inFlight.Add(-1)
	now := in.clock.Now()
	o := origin{
		received: now, clientIP: x.ClientIP(), userAgent: x.Request.Header.Get("User-Agent"), requestID: x.ID(),
		stamp: now.UTC().AppendFormat(b.stamp[:0], "2006-01-02T15:04:05.000Z"),
	}
	var ok bool
	switch x.Request.Method {
	case "GET", "HEAD":
		ok = in.readQuery(x, b, &o)
	case "POST", "PUT":
		ok = in.readBody(x, b, &o)
	default:
		x.Fail(405, "Method not allowed", gateway.Field{Name: "Allow", Value: "GET, HEAD, POST, PUT"})
		return 0
	}
	if !ok {
		return 0
	}
	start, keyStart := 0, 0
	for i, end := range b.ends {
		b.records = append(b.records, Record{Key: b.keys[keyStart:b.keyEnds[i]], Value: b.out[start:end], Time: now})
		start, keyStart = end, b.keyEnds[i]
	}
	if len(b.records) > 0 {
		ctx, cancel := context.WithTimeout(x.Context(), in.timeout)
		err := in.deps.Appender.Append(ctx, in.stream, b.records)
		cancel()
		if err != nil {
			b.doubtful = true
			in.notAppended(x, err)
			return 0
		}
	}
	in.succeed(x, b)
	return len(b.records)
}

// notAppended answers for events that are not known to be durable.
func (in *instance) notAppended(x *gateway.Exchange, err error) {
	switch fault.KindOf(err) {
	case fault.Throttled, fault.Exhausted, fault.Unavailable, fault.Canceled:
		in.busy(x)
		return
	case fault.TooLarge, fault.Invalid:
		x.Fail(413, fault.MessageOf(err))
		return
	}
	in.log.Warn("events could not be appended", "stream", in.stream, "err", err)
	if fault.KindOf(err) == fault.NotFound { // sending again does not help: somebody has to create it
		x.Fail(500, "The stream "+in.stream+" of this route does not exist")
		return
	}
	x.Fail(500, "An unexpected error occurred")
}

func (in *instance) busy(x *gateway.Exchange) {
	x.Fail(503, "The stream cannot take events now; try again", gateway.Field{Name: "Retry-After", Value: "1"})
}

func (in *instance) succeed(x *gateway.Exchange, b *batch) {
	if in.wantsPixel(x) {
		x.Respond(200, gif, gateway.Field{Name: "Content-Type", Value: "image/gif"},
			gateway.Field{Name: "Cache-Control", Value: "no-store"})
		return
	}
	out := append(b.answer, `{"events":[`...)
	start := 0
	for i, end := range b.idEnds {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendString(out, b.ids[start:end])
		start = end
	}
	b.answer = append(out, "]}"...)
	x.Respond(in.status, b.answer, gateway.Field{Name: "Content-Type", Value: "application/json; charset=utf-8"})
}

func (in *instance) wantsPixel(x *gateway.Exchange) bool {
	if x.Request.Method != "GET" && x.Request.Method != "HEAD" {
		return false
	}
	return in.pixel || strings.HasSuffix(x.Request.Path, ".gif") || strings.HasPrefix(x.Request.Header.Get("Accept"), "image/")
}

// refuse answers with what is wrong with an event.
func refuse(x *gateway.Exchange, status int, e *fieldError) bool {
	out := append([]byte(nil), `{"message":`...)
	out = appendString(out, e.Error())
	if e.event != wholeBody {
		out = append(out, `,"event":`...)
		out = strconv.AppendInt(out, int64(e.event), 10)
	}
	if e.field != "" {
		out = append(out, `,"field":`...)
		out = appendString(out, e.field)
	}
	out = append(out, `,"request_id":`...)
	out = appendString(out, x.ID())
	out = append(out, '}')
	x.Respond(status, out, gateway.Field{Name: "Content-Type", Value: "application/json; charset=utf-8"})
	return false
}

// readQuery reads the one event of a GET.
func (in *instance) readQuery(x *gateway.Exchange, b *batch, o *origin) bool {
	ev := &b.event
	ev.reset(len(in.fields))
	if len(x.Request.RawQuery) > in.maxBody {
		x.Fail(413, "the query is larger than this collector takes")
		return false
	}
	for part := range strings.SplitSeq(x.Request.RawQuery, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		name, err1 := url.QueryUnescape(k)
		text, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil {
			return refuse(x, 400, &fieldError{0, name, "bad percent encoding"})
		}
		if strings.IndexByte(text, 0) >= 0 {
			return refuse(x, 400, &fieldError{0, name, noNUL})
		}
		i := in.index(name)
		switch {
		case i >= 0:
			if ev.values[i].set {
				return refuse(x, 400, &fieldError{0, name, "given twice"})
			}
			parsed, reason := in.fields[i].parse(text)
			if reason == "" {
				reason = in.holds(text)
			}
			if reason != "" {
				return refuse(x, 400, &fieldError{0, name, reason})
			}
			ev.values[i] = parsed
			if name == "event_id" {
				ev.id = text
			}
		case name == "event_id":
			if text == "" || len(text) > 128 || !utf8.ValidString(text) {
				return refuse(x, 400, &fieldError{0, name, "must be a string of 1 to 128 bytes"})
			}
			if reason := in.holds(text); reason != "" {
				return refuse(x, 400, &fieldError{0, name, reason})
			}
			ev.id = text
		case isAdded(name):
		case in.unknown == "refuse":
			return refuse(x, 400, &fieldError{0, name, "not a field of this collector"})
		case in.unknown == "keep":
			for _, seen := range ev.names {
				if seen == name {
					return refuse(x, 400, &fieldError{0, name, "given twice"})
				}
			}
			if ev.names = append(ev.names, name); len(ev.names) > maxMembers {
				return refuse(x, 400, &fieldError{0, "", "too many members"})
			}
			ev.extra = append(ev.extra, gjson.Result{Type: gjson.String, Str: name}, gjson.Result{Type: gjson.String, Str: text})
		}
	}
	if bad := in.complete(ev, 0); bad != nil {
		return refuse(x, 400, bad)
	}
	return in.admit(x, b, 0, o)
}

// readBody reads the events of a POST.
func (in *instance) readBody(x *gateway.Exchange, b *batch, o *origin) bool {
	body, err := x.Body(in.maxBody)
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		x.Fail(413, "the body is larger than this collector takes")
		return false
	case err != nil:
		x.FailPlain(400, "Bad request")
		return false
	case !utf8.Valid(body):
		return refuse(x, 400, &fieldError{wholeBody, "", "the body is not valid UTF-8"})
	}
	if tooDeep(body) {
		return refuse(x, 400, &fieldError{wholeBody, "", "nested deeper than " + strconv.Itoa(maxDepth) + " levels"})
	}
	kind := x.Request.Header.Get("Content-Type")
	kind, _, _ = strings.Cut(kind, ";")
	switch strings.TrimSpace(strings.ToLower(kind)) {
	case "application/x-ndjson", "application/jsonl", "application/json-lines":
		return in.readLines(x, b, body, o)
	case "application/json", "text/plain", "": // text/plain is what navigator.sendBeacon sends
	default:
		x.Fail(415, "send application/json or application/x-ndjson")
		return false
	}
	if !gjson.ValidBytes(body) {
		return refuse(x, 400, &fieldError{wholeBody, "", "the body is not valid JSON"})
	}
	root := gjson.Parse(alias(body))
	if !root.IsArray() {
		return in.readOne(x, b, 0, root, o)
	}
	n, good := 0, true
	root.ForEach(func(_, v gjson.Result) bool {
		if n == in.maxEvents {
			good = in.tooMany(x)
			return false
		}
		good = in.readOne(x, b, n, v, o)
		n++
		return good
	})
	return good
}

func (in *instance) readLines(x *gateway.Exchange, b *batch, body []byte, o *origin) bool {
	n := 0
	for line := range bytes.SplitSeq(body, []byte{'\n'}) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if n == in.maxEvents {
			return in.tooMany(x)
		}
		if !gjson.ValidBytes(line) {
			return refuse(x, 400, &fieldError{n, "", "the line is not valid JSON"})
		}
		if !in.readOne(x, b, n, gjson.Parse(alias(line)), o) {
			return false
		}
		n++
	}
	return true
}

func (in *instance) tooMany(x *gateway.Exchange) bool {
	x.Fail(413, "more than "+strconv.Itoa(in.maxEvents)+" events in one request")
	return false
}

func (in *instance) readOne(x *gateway.Exchange, b *batch, index int, v gjson.Result, o *origin) bool {
	if bad := in.readJSON(&b.event, index, v); bad != nil {
		return refuse(x, 400, bad)
	}
	return in.admit(x, b, index, o)
}

// fitsTable refuses an event with a value that the table's column cannot hold: whoever
// reads the table would have to pass over it.
func (in *instance) fitsTable(x *gateway.Exchange, ev *event, index int) bool {
	holds, ok := in.deps.Tables.Check(in.table)
	if !ok {
		in.log.Warn("the table of a collector does not exist", "table", in.table)
		x.Fail(500, "The table "+in.table+" of this route does not exist") // sending again does not help
		return false
	}
	for i, v := range ev.values {
		if v.set {
			if kind, ok := holds(in.fields[i].name, []byte(v.raw)); !ok {
				return refuse(x, 400, &fieldError{index, in.fields[i].name, "the column of " + in.table + " is of type " + kind})
			}
		}
	}
	for i := 0; i < len(ev.extra); i += 2 {
		if kind, ok := holds(ev.extra[i].Str, []byte(ev.extra[i+1].Raw)); !ok {
			return refuse(x, 400, &fieldError{index, ev.extra[i].Str, "the column of " + in.table + " is of type " + kind})
		}
	}
	return true
}

// admit checks the event's programme and appends the event to the batch.
func (in *instance) admit(x *gateway.Exchange, b *batch, index int, o *origin) bool {
	ev := &b.event
	if in.table != "" && !in.fitsTable(x, ev, index) {
		return false
	}
	if in.programme >= 0 {
		f := &in.fields[in.programme]
		ref, known, err := in.deps.References.Lookup(x.Context(), in.refs, ev.values[in.programme].text)
		switch {
		case err != nil:
			in.log.Warn("references cannot be read", "collection", in.refs, "err", err)
			in.busy(x)
			return false
		case !known:
			return refuse(x, 422, &fieldError{index, f.name, "no such programme"})
		case !ref.Valid(o.received):
			return refuse(x, 422, &fieldError{index, f.name, "the programme is not valid now"})
		}
	}
	at := len(b.ids)
	if ev.id != "" {
		b.ids = append(b.ids, ev.id...)
	} else {
		b.ids = appendID(b.ids, o.received)
	}
	id := b.ids[at:]
	b.idEnds = append(b.idEnds, len(b.ids))
	if in.partition >= 0 && ev.values[in.partition].text != "" {
		b.keys = append(b.keys, ev.values[in.partition].text...)
	} else {
		b.keys = append(b.keys, id...)
	}
	b.keyEnds = append(b.keyEnds, len(b.keys))
	if in.delimited {
		b.out = in.appendDelimited(b.out, ev, id, o)
	} else {
		b.out = in.appendJSON(b.out, ev, id, o)
	}
	b.ends = append(b.ends, len(b.out))
	return true
}

// alias returns a string over b's memory, which does not change while the string lives.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
