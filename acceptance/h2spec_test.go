package acceptance_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
)

// TestH2Spec holds the gateway's HTTP/2, in clear text and over TLS, to h2spec's strict mode.
func TestH2Spec(t *testing.T) {
	tool := func(args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		t.Cleanup(cancel)
		cmd := exec.CommandContext(ctx, "go", append([]string{"tool", "-modfile=tools/go.mod", "h2spec"}, args...)...)
		cmd.Dir = ".."
		return cmd
	}
	if out, err := tool("--version").CombinedOutput(); err != nil {
		t.Skipf("h2spec cannot be built: %s", out)
	}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer up.Close()
	n := plat.Start(t, plat.Options{})
	n.Admin("POST", "/services", map[string]any{"name": "up", "url": up.URL})
	n.Admin("POST", "/services/up/routes", map[string]any{"paths": []string{"/"}})
	for name, c := range map[string]struct {
		address string
		args    []string
		known   []string // failures, with the reason
	}{
		// A connection that does not begin with HTTP/2's preface speaks HTTP/1 on this port, and
		// gets an answer of it; h2spec takes that for a connection that stays open.
		"clear text": {n.Endpoints.Proxy, nil, []string{"2: Sends invalid connection preface"}},
		"TLS":        {n.Endpoints.ProxyTLS, []string{"-t", "-k"}, nil},
	} {
		u, err := url.Parse(c.address)
		if err != nil {
			t.Fatal(err)
		}
		out, _ := tool(append(c.args, "--strict", "-h", u.Hostname(), "-p", u.Port(), "-o", "5")...).CombinedOutput() // failures are in the text
		report, _, _ := strings.Cut(string(out), "Failures:")
		var failed []string
		for line := range strings.Lines(report) {
			if _, what, ok := strings.Cut(line, "× "); ok {
				failed = append(failed, strings.TrimSpace(what))
			}
		}
		if !strings.Contains(string(out), "146 tests") || !slices.Equal(failed, c.known) {
			t.Errorf("%s: %q fail, want %q\n%s", name, failed, c.known, out)
		}
	}
}
