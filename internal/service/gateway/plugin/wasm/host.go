package wasm

import (
	"context"
	"log/slog"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// status is what a function of the host answers, by Proxy-Wasm's numbers.
type status uint32

const (
	statusOK            status = 0
	statusNotFound      status = 1
	statusBadArgument   status = 2
	statusParseFailure  status = 4
	statusInvalidMemory status = 6
	statusCASMismatch   status = 8
	statusInternal      status = 10
	statusUnimplemented status = 12
)

const actionPause = 1

// call is one call of the host by a filter.
type call struct {
	*machine
	ctx context.Context
	mem api.Memory
	arg []uint64
}

func (c *call) u32(i int) uint32 { return uint32(c.arg[i]) }

// bytes reads the argument i, an address, and the next, a size. What it returns is the
// filter's memory.
func (c *call) bytes(i int) ([]byte, bool) { return c.mem.Read(c.u32(i), c.u32(i+1)) }

// putU32 writes to where the argument i points.
func (c *call) putU32(i int, v uint32) status { return written(c.mem.WriteUint32Le(c.u32(i), v)) }

func (c *call) putU64(i int, v uint64) status { return written(c.mem.WriteUint64Le(c.u32(i), v)) }

func written(ok bool) status {
	if !ok {
		return statusInvalidMemory
	}
	return statusOK
}

// give copies data into memory that the filter allocates, and writes its address and size
// to where the arguments i and j point.
func (c *call) give(i, j int, data []byte) status {
	address := uint64(0)
	if len(data) > 0 {
		if c.alloc == nil {
			return statusInternal
		}
		out, err := c.alloc.Call(c.ctx, uint64(len(data)))
		if err != nil || len(out) == 0 || uint32(out[0]) == 0 {
			return statusInternal
		}
		if address = out[0]; !c.mem.Write(uint32(address), data) {
			return statusInvalidMemory
		}
	}
	if s := c.putU32(i, uint32(address)); s != statusOK {
		return s
	}
	return c.putU32(j, uint32(len(data)))
}

// hostFunction is a function that filters may call; its parameters are 32-bit integers,
// or 64-bit where there is an "I".
type hostFunction struct {
	name   string
	params string
	run    func(*call) status
}

// hostFunctions is the module "env" of Proxy-Wasm 0.2.1.
func hostFunctions() []hostFunction {
	unimplemented := func(*call) status { return statusUnimplemented }
	accepted := func(*call) status { return statusOK }
	return []hostFunction{
		{"proxy_log", "iii", (*call).logText},
		{"proxy_get_log_level", "i", (*call).logLevel},
		{"proxy_get_current_time_nanoseconds", "i", func(c *call) status {
			return c.putU64(0, uint64(c.filter.engine.deps.Clock.Now().UnixNano()))
		}},
		{"proxy_set_tick_period_milliseconds", "i", accepted},
		{"proxy_done", "", accepted},
		{"proxy_set_effective_context", "i", func(c *call) status {
			if id := c.u32(0); id != root && (c.stream == nil || id != c.stream.id) {
				return statusBadArgument
			}
			return statusOK
		}},

		{"proxy_get_header_map_size", "ii", (*call).headerSize},
		{"proxy_get_header_map_pairs", "iii", (*call).headerPairs},
		{"proxy_set_header_map_pairs", "iii", (*call).setHeaderPairs},
		{"proxy_get_header_map_value", "iiiii", (*call).headerValue},
		{"proxy_add_header_map_value", "iiiii", func(c *call) status { return c.setHeader(editable.add) }},
		{"proxy_replace_header_map_value", "iiiii", func(c *call) status { return c.setHeader(editable.set) }},
		{"proxy_remove_header_map_value", "iii", (*call).removeHeader},

		{"proxy_get_buffer_bytes", "iiiii", (*call).bufferBytes},
		{"proxy_get_buffer_status", "iii", (*call).bufferStatus},
		{"proxy_set_buffer_bytes", "iiiii", (*call).setBuffer},

		{"proxy_send_local_response", "iiiiiiii", (*call).sendLocalResponse},
		{"proxy_continue_stream", "i", (*call).continueStream},
		{"proxy_close_stream", "i", (*call).closeStream},
		{"proxy_get_status", "iii", unimplemented},

		{"proxy_get_property", "iiii", (*call).property},
		{"proxy_set_property", "iiii", (*call).setProperty},

		{"proxy_get_shared_data", "iiiii", (*call).sharedData},
		{"proxy_set_shared_data", "iiiii", (*call).setSharedData},
		{"proxy_define_metric", "iiii", (*call).defineMetric},
		{"proxy_increment_metric", "iI", (*call).incrementMetric},
		{"proxy_record_metric", "iI", (*call).recordMetric},
		{"proxy_get_metric", "ii", (*call).metric},

		{"proxy_register_shared_queue", "iii", unimplemented},
		{"proxy_resolve_shared_queue", "iiiii", unimplemented},
		{"proxy_enqueue_shared_queue", "iii", unimplemented},
		{"proxy_dequeue_shared_queue", "iii", unimplemented},
		{"proxy_http_call", "iiiiiiiiii", unimplemented},
		{"proxy_grpc_call", "iiiiiiiiiiii", unimplemented},
		{"proxy_grpc_stream", "iiiiiiiii", unimplemented},
		{"proxy_grpc_send", "iiii", unimplemented},
		{"proxy_grpc_cancel", "i", unimplemented},
		{"proxy_grpc_close", "i", unimplemented},
		{"proxy_call_foreign_function", "iiiiii", func(*call) status { return statusNotFound }},
	}
}

// exportHost gives the runtime's modules the functions of the host.
func exportHost(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder("env")
	for _, f := range hostFunctions() {
		params := make([]api.ValueType, len(f.params))
		for i, kind := range f.params {
			if params[i] = api.ValueTypeI32; kind == 'I' {
				params[i] = api.ValueTypeI64
			}
		}
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, mod api.Module, stack []uint64) {
			m, _ := ctx.Value(machineKey{}).(*machine)
			c := call{machine: m, ctx: ctx, mem: mod.Memory(), arg: stack}
			if c.mem == nil {
				stack[0] = uint64(statusInvalidMemory)
				return
			}
			stack[0] = uint64(f.run(&c))
		}), params, []api.ValueType{api.ValueTypeI32}).Export(f.name)
	}
	_, err := b.Instantiate(ctx)
	return err
}

// levels are slog's of Proxy-Wasm's: trace, debug, info, warn, error, critical.
var levels = []slog.Level{slog.LevelDebug, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError, slog.LevelError}

func (c *call) logText() status {
	text, ok := c.bytes(1)
	switch {
	case !ok:
		return statusInvalidMemory
	case c.u32(0) >= uint32(len(levels)):
		return statusBadArgument
	}
	say(c.filter.log, levels[c.u32(0)], string(text[:min(len(text), maxLine)]))
	return statusOK
}

func (c *call) logLevel() status {
	for i := 1; i < len(levels); i++ {
		if c.filter.log.Enabled(c.ctx, levels[i]) {
			return c.putU32(0, uint32(i))
		}
	}
	return c.putU32(0, uint32(len(levels)-1))
}

// Buffers, by Proxy-Wasm's numbers.
const (
	requestBuffer  = 0
	responseBuffer = 1
	vmConfig       = 6
	filterConfig   = 7
)

// buffer returns what the filter may read now.
func (c *call) buffer(id uint32) ([]byte, status) {
	s := c.stream
	switch {
	case id == requestBuffer && s != nil && s.phase == onRequestBody,
		id == responseBuffer && s != nil && s.phase == onResponseBody:
		return s.body, statusOK
	case id == filterConfig && c.config:
		return c.filter.config, statusOK
	case id <= 8:
		return nil, statusNotFound
	}
	return nil, statusBadArgument
}

func (c *call) bufferBytes() status {
	data, st := c.buffer(c.u32(0))
	if st != statusOK {
		return st
	}
	start, size := uint64(c.u32(1)), uint64(c.u32(2))
	if start > uint64(len(data)) {
		return statusBadArgument
	}
	return c.give(3, 4, data[start:min(start+size, uint64(len(data)))])
}

func (c *call) bufferStatus() status {
	data, st := c.buffer(c.u32(0))
	if st != statusOK {
		return st
	}
	if st := c.putU32(1, uint32(len(data))); st != statusOK {
		return st
	}
	return c.putU32(2, 0)
}

func (c *call) setBuffer() status {
	id := c.u32(0)
	old, st := c.buffer(id)
	switch {
	case st != statusOK:
		return st
	case id != requestBuffer && id != responseBuffer:
		return statusBadArgument
	}
	value, ok := c.bytes(3)
	if !ok {
		return statusInvalidMemory
	}
	start := min(uint64(c.u32(1)), uint64(len(old)))
	end := min(start+uint64(c.u32(2)), uint64(len(old)))
	if len(old)-int(end-start)+len(value) > c.filter.engine.cfg.Body {
		return statusBadArgument
	}
	out := make([]byte, 0, len(old)-int(end-start)+len(value))
	out = append(append(append(out, old[:start]...), value...), old[end:]...)
	c.stream.body, c.stream.changed = out, true
	return statusOK
}

func (c *call) sendLocalResponse() status {
	s := c.stream
	if s == nil || s.phase > onResponseHeaders {
		return statusBadArgument // there is no exchange, or the answer has begun
	}
	body, ok := c.bytes(3)
	raw, ok2 := c.bytes(5)
	code := c.u32(0)
	switch {
	case !ok || !ok2:
		return statusInvalidMemory
	case code < 200 || code > 599 || len(body) > c.filter.engine.cfg.Body:
		return statusBadArgument
	}
	headers, ok := parsePairs(raw)
	if !ok {
		return statusParseFailure
	}
	l := &localResponse{status: int(code), body: append([]byte(nil), body...)}
	for _, h := range headers {
		if !framing(h.Name) {
			l.headers = append(l.headers, h)
		}
	}
	s.local = l
	return statusOK
}

// Streams, by Proxy-Wasm's numbers: of the request, of the response.
const streams = 2

func (c *call) continueStream() status {
	switch {
	case c.u32(0) > 3:
		return statusBadArgument
	case c.u32(0) >= streams:
		return statusUnimplemented
	case c.stream != nil:
		c.stream.resumed = true
	}
	return statusOK
}

func (c *call) closeStream() status {
	s := c.stream
	if c.u32(0) >= streams || s == nil || s.phase > onResponseHeaders {
		return statusBadArgument
	}
	s.local = &localResponse{status: 500}
	return statusOK
}
