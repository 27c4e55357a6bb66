package syslog_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/syslog"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func receive(t *testing.T, pc net.PacketConn) string {
	t.Helper()
	buf := make([]byte, 65536)
	pc.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := pc.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

var severities = schema.Record{"log_level": "notice", "successful_severity": "debug", "client_errors_severity": "notice", "server_errors_severity": "alert"}

func with(more schema.Record) schema.Record {
	out := schema.Record{}
	for k, v := range severities {
		out[k] = v
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

func TestSyslog(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "log")
	pc, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	g, send := gatewaytest.Logged(t, syslog.New(syslog.Deps{Socket: socket}), with(schema.Record{"facility": "local3"}))
	for _, status := range []int{200, 404, 503} { // the first is less severe than log_level
		send(status)
	}
	g.Close()
	form := regexp.MustCompile(`^<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d kong\[\d+\]: (\{.*\})$`)
	for _, want := range []struct {
		priority int
		status   float64
	}{{19<<3 | 5, 404}, {19<<3 | 1, 503}} {
		m := form.FindStringSubmatch(receive(t, pc))
		if m == nil {
			t.Fatal("not the form of syslog's daemon")
		}
		var record struct{ Response struct{ Status float64 } }
		if err := json.Unmarshal([]byte(m[2]), &record); err != nil || record.Response.Status != want.status || m[1] != strconv.Itoa(want.priority) {
			t.Errorf("%s %v, want %+v: %v", m[1], record, want, err)
		}
	}
}

func TestAbsentDaemon(t *testing.T) {
	var said bytes.Buffer
	kind := syslog.New(syslog.Deps{Socket: filepath.Join(t.TempDir(), "none")})
	made := kind.New
	kind.New = func(c schema.Record, env gateway.Env) (any, error) {
		env.Log = slog.New(slog.NewTextHandler(&said, nil))
		return made(c, env)
	}
	g, send := gatewaytest.Logged(t, kind, schema.Record{})
	send(200)
	g.Close()
	if !strings.Contains(said.String(), "could not be sent") {
		t.Errorf("the node's log: %q", said.String())
	}
}

func TestLoggly(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	g, send := gatewaytest.Logged(t, syslog.NewLoggly(syslog.Deps{}), with(schema.Record{"host": "127.0.0.1",
		"port": float64(pc.LocalAddr().(*net.UDPAddr).Port), "key": "k-1", "tags": []any{"a", "b"}}))
	send(200)
	send(500)
	g.Close()
	got := receive(t, pc)
	host, _ := os.Hostname()
	form := regexp.MustCompile(`^<9>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ` + regexp.QuoteMeta(host) + ` kong - - \[k-1@41058 tag="a" tag="b"\] \{.*"status":500.*\}$`)
	if !form.MatchString(got) {
		t.Errorf("%s", got)
	}
	config := syslog.NewLoggly(syslog.Deps{}).Config
	if bad := config.Validate(config.Complete(schema.Record{"key": `x" y`})); bad == nil {
		t.Error("a key that would end the structured data was accepted")
	}
}
