package tracing

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"

	"sluice.dev/sluice/internal/service/gateway"
)

// injector writes the headers of one format.
type injector struct {
	sizes []int // of trace ids, the usual one first
	write func(h *gateway.Header, c context)
}

var injectors = map[string]injector{
	"w3c": {[]int{16}, func(h *gateway.Header, c context) {
		h.Set("traceparent", "00-"+hex.EncodeToString(c.trace)+"-"+hex.EncodeToString(c.span)+"-0"+c.bit())
	}},
	"b3": {[]int{16, 8}, func(h *gateway.Header, c context) {
		h.Set("x-b3-traceid", hex.EncodeToString(c.trace))
		h.Set("x-b3-spanid", hex.EncodeToString(c.span))
		if c.parent != nil {
			h.Set("x-b3-parentspanid", hex.EncodeToString(c.parent))
		} else {
			h.Del("x-b3-parentspanid")
		}
		if c.debug {
			h.Set("x-b3-flags", "1")
			h.Del("x-b3-sampled")
		} else {
			h.Set("x-b3-sampled", c.bit())
		}
	}},
	"b3-single": {[]int{16, 8}, func(h *gateway.Header, c context) {
		sampled := c.bit()
		if c.debug {
			sampled = "d"
		}
		value := hex.EncodeToString(c.trace) + "-" + hex.EncodeToString(c.span) + "-" + sampled
		if c.parent != nil {
			value += "-" + hex.EncodeToString(c.parent)
		}
		h.Set("b3", value)
	}},
	"jaeger": {[]int{16, 8}, func(h *gateway.Header, c context) {
		parent := "0"
		if c.parent != nil {
			parent = hex.EncodeToString(c.parent)
		}
		h.Set("uber-trace-id", hex.EncodeToString(c.trace)+":"+hex.EncodeToString(c.span)+":"+parent+":0"+c.bit())
	}},
	"ot": {[]int{8, 16}, func(h *gateway.Header, c context) {
		h.Set("ot-tracer-traceid", hex.EncodeToString(c.trace))
		h.Set("ot-tracer-spanid", hex.EncodeToString(c.span))
		h.Set("ot-tracer-sampled", c.bit())
	}},
	"datadog": {[]int{8}, func(h *gateway.Header, c context) {
		h.Set("x-datadog-trace-id", asDecimal(c.trace))
		h.Set("x-datadog-parent-id", asDecimal(c.span))
		h.Set("x-datadog-sampling-priority", c.bit())
	}},
	"aws": {[]int{16}, func(h *gateway.Header, c context) {
		trace := hex.EncodeToString(c.trace)
		h.Set("x-amzn-trace-id", "Root=1-"+trace[:8]+"-"+trace[8:]+";Parent="+hex.EncodeToString(c.span)+";Sampled="+c.bit())
	}},
	"gcp": {[]int{16}, func(h *gateway.Header, c context) {
		h.Set("x-cloud-trace-context", hex.EncodeToString(c.trace)+"/"+asDecimal(c.span)+";o="+c.bit())
	}},
}

func (c context) bit() string {
	if c.sampled == Record {
		return "1"
	}
	return "0"
}

func asDecimal(id []byte) string { return strconv.FormatUint(binary.BigEndian.Uint64(id), 10) }

// inject writes the headers of a format. The trace id keeps its size where the format has
// that one; otherwise zeros are put in front, or its front is cut off.
func (in injector) inject(h *gateway.Header, c context) {
	size := in.sizes[0]
	if slices.Contains(in.sizes, len(c.trace)) {
		size = len(c.trace)
	}
	trace := make([]byte, size)
	copy(trace[max(size-len(c.trace), 0):], c.trace[max(len(c.trace)-size, 0):])
	c.trace = trace
	in.write(h, c)
}
