package node_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/node"
)

func TestStreamListen(t *testing.T) {
	for value, want := range map[string]string{
		"127.0.0.1:0, 127.0.0.1:0 ssl proxy_protocol,127.0.0.1:0 udp": "", "": "", "off": "",
		"9000": "not an address and a port", "127.0.0.1:1 tls": `"tls" is not one of`, "127.0.0.1:1 udp ssl": "neither ssl",
	} {
		got := ""
		if err := node.ListenStreams(value); err != nil {
			if got = err.Error(); !config.Invalid.Is(err) {
				t.Errorf("%q: %v", value, err)
			}
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}
