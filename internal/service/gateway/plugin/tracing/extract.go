package tracing

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
)

// Sampling is whether a trace is recorded, as far as the client has decided it.
type Sampling int8

// The decisions.
const (
	Undecided Sampling = iota
	Record
	Ignore
)

// context is what a client's headers say. Ids that are nil were not given.
type context struct {
	trace   []byte // 8 or 16 bytes
	span    []byte // 8 bytes: the sender's span
	parent  []byte // 8 bytes: the parent of that span
	sampled Sampling
	debug   bool // b3's flag
	shared  bool // the sender's span id is ours too: b3 and jaeger share spans
	single  bool // b3 in one header
}

// extractors read one format. They report false where its headers say nothing.
var extractors = map[string]func(h *gateway.Header) (context, bool){
	"w3c": extractW3C, "b3": extractB3, "jaeger": extractJaeger, "ot": extractOT,
	"datadog": extractDatadog, "aws": extractAWS, "gcp": extractGCP,
}

// id decodes hexadecimal digits into a number of bytes; shorter ids are padded in front.
// Malformed ones and those that are all zero give nil.
func id(digits string, sizes ...int) []byte {
	for _, n := range sizes {
		if len(digits) > 2*n || digits == "" {
			continue
		}
		out, err := hex.DecodeString(strings.Repeat("0", 2*n-len(digits)) + digits)
		if err != nil || zero(out) {
			return nil
		}
		return out
	}
	return nil
}

// exact is id for a format that does not pad.
func exact(digits string, sizes ...int) []byte {
	for _, n := range sizes {
		if len(digits) == 2*n {
			return id(digits, n)
		}
	}
	return nil
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func extractW3C(h *gateway.Header) (context, bool) {
	parts := strings.Split(h.Get("traceparent"), "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 {
		return context{}, false
	}
	flags, err := strconv.ParseUint(parts[3], 16, 8)
	if _, verr := strconv.ParseUint(parts[0], 16, 8); err != nil || verr != nil || len(parts[3]) != 2 {
		return context{}, false
	}
	c := context{trace: exact(parts[1], 16), span: exact(parts[2], 8), sampled: sampledIf(flags&1 == 1)}
	return c, c.trace != nil && c.span != nil
}

func sampledIf(b bool) Sampling {
	if b {
		return Record
	}
	return Ignore
}

// decision reads a header that says whether to sample.
func decision(s string, yes, no string) Sampling {
	switch {
	case s == "":
		return Undecided
	case strings.Contains(" "+yes+" ", " "+s+" "):
		return Record
	case strings.Contains(" "+no+" ", " "+s+" "):
		return Ignore
	}
	return Undecided
}

func extractB3(h *gateway.Header) (context, bool) {
	c := context{shared: true}
	single := h.Get("b3")
	if single == "" {
		single, _ = strings.CutPrefix(h.Get("tracestate"), "b3=")
		if single == h.Get("tracestate") {
			single = ""
		}
	}
	if single != "" {
		c.single = true
		parts := strings.Split(single, "-")
		switch {
		case len(parts) == 1:
			c.sampled, c.debug = decision(parts[0], "1 d", "0"), parts[0] == "d"
		default:
			c.trace, c.span = exact(parts[0], 16, 8), exact(parts[1], 8)
			if len(parts) > 2 {
				c.sampled, c.debug = decision(parts[2], "1 d", "0"), parts[2] == "d"
			}
			if len(parts) > 3 {
				c.parent = exact(parts[3], 8)
			}
			if c.trace == nil || c.span == nil {
				c = context{shared: true}
			}
		}
	}
	if c.trace == nil {
		c.trace, c.span, c.parent = exact(h.Get("x-b3-traceid"), 16, 8), exact(h.Get("x-b3-spanid"), 8), exact(h.Get("x-b3-parentspanid"), 8)
		if c.trace == nil || c.span == nil {
			c.trace, c.span, c.parent = nil, nil, nil
		}
	}
	if c.sampled == Undecided {
		c.sampled = decision(h.Get("x-b3-sampled"), "1 true", "0 false")
	}
	if h.Get("x-b3-flags") == "1" {
		c.sampled, c.debug = Record, true
	}
	return c, c.trace != nil || c.sampled != Undecided
}

func extractJaeger(h *gateway.Header) (context, bool) {
	parts := strings.Split(h.Get("uber-trace-id"), ":")
	if len(parts) != 4 || len(parts[3]) > 2 {
		return context{}, false
	}
	flags, err := strconv.ParseUint(parts[3], 16, 8)
	c := context{trace: id(parts[0], 8, 16), span: id(parts[1], 8), parent: id(parts[2], 8), sampled: sampledIf(flags&1 == 1), shared: true}
	return c, err == nil && c.trace != nil && c.span != nil
}

func extractOT(h *gateway.Header) (context, bool) {
	c := context{sampled: decision(h.Get("ot-tracer-sampled"), "1 true", "0 false"),
		trace: exact(h.Get("ot-tracer-traceid"), 8, 16), span: exact(h.Get("ot-tracer-spanid"), 8)}
	if c.trace == nil || c.span == nil {
		c.trace, c.span = nil, nil
	}
	return c, c.trace != nil || c.sampled != Undecided
}

// decimal reads an id of 64 bits in decimal digits.
func decimal(s string) []byte {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	if err != nil || n == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint64(nil, n)
}

func extractDatadog(h *gateway.Header) (context, bool) {
	c := context{trace: decimal(h.Get("x-datadog-trace-id")), sampled: decision(h.Get("x-datadog-sampling-priority"), "1 2", "0 -1")}
	if c.trace != nil {
		c.span = decimal(h.Get("x-datadog-parent-id"))
	}
	return c, c.trace != nil || c.sampled != Undecided
}

func extractAWS(h *gateway.Header) (context, bool) {
	var c context
	for part := range strings.SplitSeq(h.Get("x-amzn-trace-id"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Root":
			if p := strings.Split(value, "-"); len(p) == 3 && p[0] == "1" && len(p[1]) == 8 {
				c.trace = exact(p[1]+p[2], 16)
			}
		case "Parent":
			c.span = exact(value, 8)
		case "Sampled":
			c.sampled = decision(value, "1", "0")
		}
	}
	return c, c.trace != nil
}

func extractGCP(h *gateway.Header) (context, bool) {
	trace, rest, _ := strings.Cut(h.Get("x-cloud-trace-context"), "/")
	span, options, _ := strings.Cut(rest, ";")
	c := context{trace: exact(trace, 16), span: decimal(span), sampled: sampledIf(options == "o=1")}
	return c, c.trace != nil && c.span != nil
}
