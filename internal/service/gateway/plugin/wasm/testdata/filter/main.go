// Command filter is a filter for tests: its configuration says what it does.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o filter.wasm .
package main

import (
	"encoding/binary"
	"runtime"
	"strings"
	"unsafe"
)

func main() {}

// config is the filter's configuration: words separated by spaces.
var config string

func has(word string) bool {
	for _, w := range strings.Fields(config) {
		if w == word {
			return true
		}
	}
	return false
}

// kept are the buffers that the host asked for and has not been relieved of.
var kept = map[uintptr][]byte{}

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) uint32 {
	b := make([]byte, size)
	p := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	kept[p] = b
	return uint32(p)
}

// taken returns what the host has put into memory at an address.
func taken(p, n uint32) string {
	b := kept[uintptr(p)]
	delete(kept, uintptr(p))
	return string(b[:n])
}

//go:wasmexport proxy_on_context_create
func contextCreate(id, parent uint32) {}

//go:wasmexport proxy_on_vm_start
func vmStart(id, size uint32) uint32 { return 1 }

//go:wasmexport proxy_on_configure
func configure(id, size uint32) uint32 {
	if size > 0 {
		var p, n uint32
		if getBuffer(7, 0, size, &p, &n) != 0 {
			return 0
		}
		config = taken(p, n)
	}
	if has("refuse") {
		return 0
	}
	return 1
}

//go:wasmexport proxy_on_request_headers
func requestHeaders(id, n, end uint32) uint32 {
	switch {
	case header(0, "x-loop") != "" || has("loop"):
		for spin := 0; ; spin++ {
			runtime.KeepAlive(spin)
		}
	case has("bomb"):
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
		}
	case header(0, "x-trap") != "" || has("trap"):
		panic("as it was told")
	case has("deny"):
		body, headers := []byte("denied"), pairs("X-Denied", "yes", "Content-Length", "9")
		sendLocal(403, nil, 0, &body[0], uint32(len(body)), &headers[0], uint32(len(headers)), 0xffffffff)
		return 1
	case has("stuck"):
		return 1
	}
	add(0, "x-config", config)
	add(0, "x-seen", header(0, ":method")+" "+header(0, ":path")+" "+header(0, "x-client"))
	add(0, "x-route", property("kong\x00route_id"))
	add(0, "x-http-call", digit(httpCall(nil, 0, nil, 0, nil, 0, nil, 0, 0, nil)))
	if has("path") {
		set(0, ":path", "/changed?a=1")
	}
	if has("wild") { // addresses that are none
		add(0, "x-wild", digit(getHeader(0, nil, 0xffffffff, nil, nil))+digit(getBuffer(99, 0, 1, nil, nil)))
	}
	if has("count") {
		var m uint32
		name := []byte("requests")
		defineMetric(0, &name[0], uint32(len(name)), &m)
		incrementMetric(m, 1)
	}
	return 0
}

//go:wasmexport proxy_on_request_body
func requestBody(id, n, end uint32) uint32 {
	if has("body") {
		body := []byte(strings.ToUpper(buffer(0, n)))
		setBuffer(0, 0, 0xffffffff, &body[0], uint32(len(body)))
	}
	return 0
}

//go:wasmexport proxy_on_response_headers
func responseHeaders(id, n, end uint32) uint32 {
	switch {
	case has("trap-answer"):
		panic("as it was told")
	case has("replace"):
		body := []byte("another")
		sendLocal(502, nil, 0, &body[0], uint32(len(body)), nil, 0, 0xffffffff)
		return 1
	}
	add(2, "x-filtered", header(2, ":status"))
	return 0
}

//go:wasmexport proxy_on_response_body
func responseBody(id, n, end uint32) uint32 {
	switch {
	case has("trap-body"):
		panic("as it was told")
	case has("whole") && end == 0:
		return 1
	case has("body") && n > 0:
		body := []byte("<" + strings.ToUpper(buffer(1, n)) + ">")
		setBuffer(1, 0, 0xffffffff, &body[0], uint32(len(body)))
	}
	return 0
}

//go:wasmexport proxy_on_done
func done(id uint32) uint32 { return 1 }

//go:wasmexport proxy_on_log
func onLog(id uint32) {
	if has("log") {
		text := []byte("status " + header(2, ":status"))
		proxyLog(2, &text[0], uint32(len(text)))
	}
}

//go:wasmexport proxy_on_delete
func onDelete(id uint32) {}

func digit(n uint32) string {
	if n >= 10 {
		return digit(n/10) + digit(n%10)
	}
	return string(rune('0' + n))
}

func header(m uint32, name string) string {
	k := []byte(name)
	var p, n uint32
	if getHeader(m, &k[0], uint32(len(k)), &p, &n) != 0 || n == 0 {
		return ""
	}
	return taken(p, n)
}

func property(name string) string {
	k := []byte(name)
	var p, n uint32
	if getProperty(&k[0], uint32(len(k)), &p, &n) != 0 || n == 0 {
		return ""
	}
	return taken(p, n)
}

func buffer(id, size uint32) string {
	var p, n uint32
	if getBuffer(id, 0, size, &p, &n) != 0 || n == 0 {
		return ""
	}
	return taken(p, n)
}

func add(m uint32, name, value string) {
	k, v := []byte(name), []byte(value+"\x00")
	addHeader(m, &k[0], uint32(len(k)), &v[0], uint32(len(v))-1)
}

func set(m uint32, name, value string) {
	k, v := []byte(name), []byte(value)
	replaceHeader(m, &k[0], uint32(len(k)), &v[0], uint32(len(v)))
}

func pairs(list ...string) []byte {
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(list)/2))
	for _, s := range list {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(s)))
	}
	for _, s := range list {
		out = append(append(out, s...), 0)
	}
	return out
}

//go:wasmimport env proxy_log
func proxyLog(level uint32, p *byte, n uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func getHeader(m uint32, k *byte, kn uint32, p, n *uint32) uint32

//go:wasmimport env proxy_add_header_map_value
func addHeader(m uint32, k *byte, kn uint32, v *byte, vn uint32) uint32

//go:wasmimport env proxy_replace_header_map_value
func replaceHeader(m uint32, k *byte, kn uint32, v *byte, vn uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func getBuffer(id, start, size uint32, p, n *uint32) uint32

//go:wasmimport env proxy_set_buffer_bytes
func setBuffer(id, start, size uint32, p *byte, n uint32) uint32

//go:wasmimport env proxy_send_local_response
func sendLocal(code uint32, d *byte, dn uint32, b *byte, bn uint32, h *byte, hn uint32, grpc uint32) uint32

//go:wasmimport env proxy_get_property
func getProperty(k *byte, kn uint32, p, n *uint32) uint32

//go:wasmimport env proxy_define_metric
func defineMetric(kind uint32, k *byte, kn uint32, id *uint32) uint32

//go:wasmimport env proxy_increment_metric
func incrementMetric(id uint32, delta int64) uint32

//go:wasmimport env proxy_http_call
func httpCall(u *byte, un uint32, h *byte, hn uint32, b *byte, bn uint32, t *byte, tn uint32, timeout uint32, id *uint32) uint32
