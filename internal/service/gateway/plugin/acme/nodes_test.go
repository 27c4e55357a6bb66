package acme_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestNodes has two nodes with a storage in common.
func TestNodes(t *testing.T) {
	for _, storage := range []string{"redis", "consul"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			config := schema.Record{}
			if storage == "redis" {
				config = redisConfig(t)
			} else {
				config["consul"] = at(t, consul(t), nil)
			}
			r := newRig(t, schema.Record{"storage": storage, "storage_config": config})
			other, kind := r.node()
			r.challenged.Store(other) // the one that does not order
			r.hold.Lock()
			free := sync.OnceFunc(r.hold.Unlock)
			defer free()
			done := make(chan [2]any, 1)
			go func() {
				status, body := r.admin("POST", "/acme", schema.Record{"host": "one.example"})
				done <- [2]any{status, body}
			}()
			select {
			case <-r.asked:
			case got := <-done:
				t.Fatal(got)
			}
			if status, body := r.ask(kind, "POST", "/acme", schema.Record{"host": "one.example"}); status != 409 {
				t.Errorf("while the one node orders, the other gets %d %s", status, body)
			}
			free()
			if got := <-done; got[0] != 201 {
				t.Fatal(got)
			}
			if r.serial("one.example") == "" {
				t.Error("it is not served")
			}
			if status, body := r.ask(kind, "POST", "/acme", schema.Record{"host": "one.example"}); status != 201 {
				t.Error(status, body)
			}
		})
	}
}

func TestExternalAccount(t *testing.T) {
	t.Parallel()
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	wrong := base64.RawURLEncoding.EncodeToString(make([]byte, 48))
	pebble := schema.Record{"externalAccountBindingRequired": true, "externalAccountMACKeys": schema.Record{"kid-1": key}}
	for _, c := range []struct {
		edit   schema.Record
		status int
	}{
		{schema.Record{"eab_kid": "kid-1", "eab_hmac_key": key}, 201},
		{schema.Record{"eab_kid": "kid-1", "eab_hmac_key": wrong}, 500},
		{schema.Record{"eab_kid": "kid-2", "eab_hmac_key": key}, 500},
		{schema.Record{}, 500},
	} {
		if status, body := newRig(t, c.edit, pebble).admin("POST", "/acme", schema.Record{"host": "one.example"}); status != c.status {
			t.Errorf("%v: %d %s", c.edit, status, body)
		}
	}
}

// TestPreferredChain asks for the second of Pebble's two roots, and for one there is not.
func TestPreferredChain(t *testing.T) {
	t.Parallel()
	for _, root := range []string{"1", "0", ""} {
		r := newRig(t, schema.Record{})
		name := "nobody"
		if root != "" {
			name = r.root(root).Subject.CommonName
		}
		r.config["preferred_chain"] = name
		g, kind := r.node()
		r.challenged.Store(g)
		if status, body := r.ask(kind, "POST", "/acme", schema.Record{"host": "one.example"}); status != 201 {
			t.Fatal(status, body)
		}
		var last *x509.Certificate
		for c := range g.Each("certificates") {
			last = lastOf(t, c["cert"].(string))
		}
		want := r.root("0")
		if root == "1" {
			want = r.root("1")
		}
		if err := last.CheckSignatureFrom(want); err != nil {
			t.Errorf("preferring %q: the chain ends under %s: %v", name, last.Issuer.CommonName, err)
		}
	}
}

// root is one of Pebble's roots.
func (r *rig) root(number string) *x509.Certificate {
	r.t.Helper()
	got, err := r.client.Get("https://" + r.management + "/roots/" + number)
	if err != nil {
		r.t.Fatal(err)
	}
	defer got.Body.Close()
	text, _ := io.ReadAll(got.Body)
	return lastOf(r.t, string(text))
}

// lastOf is the last certificate of a PEM text.
func lastOf(t *testing.T, text string) (last *x509.Certificate) {
	t.Helper()
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if last == nil {
				t.Fatal("no certificate in " + text)
			}
			return last
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		last = c
	}
}
