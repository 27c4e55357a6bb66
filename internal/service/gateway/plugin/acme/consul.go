package acme

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// consul is the key/value store of HashiCorp Consul. A version is Consul's ModifyIndex.
type consul struct {
	remote
	folder string
	header http.Header
}

func newConsul(c schema.Record, clock clock.Clock) versioned {
	s := consul{newRemote("consul", c, 8500), "/v1/kv" + folder(c, "kv_path", "acme"), http.Header{}}
	if token := fields.String(c, "token"); token != "" {
		s.header.Set("X-Consul-Token", token)
	}
	return versioned{s, clock}
}

func (s consul) path(key string) string { return s.folder + url.PathEscape(key) }

func (s consul) read(ctx context.Context, key string) (string, uint64, error) {
	var got []struct {
		Value       string
		ModifyIndex uint64
	}
	status, err := s.call(ctx, http.MethodGet, s.path(key), s.header, nil, &got)
	switch {
	case err != nil:
		return "", 0, err
	case status == 404:
		return "", 0, nil
	case status != 200 || len(got) != 1:
		return "", 0, s.refused(status)
	}
	text, err := base64.StdEncoding.DecodeString(got[0].Value)
	return string(text), got[0].ModifyIndex, err
}

func (s consul) write(ctx context.Context, key, text string, version uint64) (done bool, err error) {
	path := s.path(key)
	if version != anyVersion {
		path += "?cas=" + strconv.FormatUint(version, 10)
	}
	status, err := s.call(ctx, http.MethodPut, path, s.header, []byte(text), &done)
	if err == nil && status != 200 {
		err = s.refused(status)
	}
	return done && err == nil, err
}

func (s consul) erase(ctx context.Context, key string) error {
	status, err := s.call(ctx, http.MethodDelete, s.path(key), s.header, nil, nil)
	if err == nil && status != 200 {
		err = s.refused(status)
	}
	return err
}
