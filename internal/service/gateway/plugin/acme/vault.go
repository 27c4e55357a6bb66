package acme

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// vault is the engine kv, version 2, of HashiCorp Vault, mounted at secret.
type vault struct {
	remote
	folder string

	login   string // path of the method's login; "": the token is configured
	role    string
	jwtPath string

	mu    sync.Mutex
	token string // "": there is none yet
}

// serviceToken is where Kubernetes puts the token of a pod's service account.
const serviceToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

func newVault(c schema.Record, clock clock.Clock) versioned {
	s := &vault{remote: newRemote("vault", c, 8200), folder: folder(c, "kv_path", "acme"), token: fields.String(c, "token")}
	if fields.String(c, "auth_method") == "kubernetes" {
		s.token = ""
		s.login = "/v1/auth" + folder(c, "auth_path", "kubernetes") + "login"
		s.role, s.jwtPath = fields.String(c, "auth_role"), cmp.Or(fields.String(c, "jwt_path"), serviceToken)
	}
	return versioned{s, clock}
}

// authorized calls with the token. Where it comes of a login and is refused, it is fetched
// anew, once.
func (s *vault) authorized(ctx context.Context, method, path string, body, out any) (int, error) {
	for again := s.login != ""; ; again = false {
		token, err := s.current(ctx)
		if err != nil {
			return 0, err
		}
		status, err := s.call(ctx, method, path, http.Header{"X-Vault-Token": {token}}, body, out)
		if err != nil || status != 403 || !again {
			return status, err
		}
		s.mu.Lock()
		if s.token == token {
			s.token = ""
		}
		s.mu.Unlock()
	}
}

// current returns the token, after a login where there is none.
func (s *vault) current(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock() // others would log in as well
	if s.token != "" || s.login == "" {
		return s.token, nil
	}
	jwt, err := os.ReadFile(s.jwtPath)
	if err != nil {
		return "", fmt.Errorf("vault: the service account's token: %w", err)
	}
	var got struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	status, err := s.call(ctx, http.MethodPost, s.login, http.Header{}, map[string]string{"role": s.role, "jwt": strings.TrimSpace(string(jwt))}, &got)
	switch {
	case err != nil:
		return "", err
	case status != 200:
		return "", fmt.Errorf("vault: the login was answered with status %d", status)
	case got.Auth.Token == "":
		return "", errors.New("vault: the login gave no token")
	}
	s.token = got.Auth.Token
	return s.token, nil
}

func (s *vault) path(of, key string) string {
	return "/v1/secret/" + of + s.folder + url.PathEscape(key)
}

func (s *vault) read(ctx context.Context, key string) (string, uint64, error) {
	var got struct {
		Data struct {
			Data *struct {
				Value string `json:"value"`
			} `json:"data"`
			Metadata struct {
				Version uint64 `json:"version"`
			} `json:"metadata"`
		} `json:"data"`
	}
	status, err := s.authorized(ctx, http.MethodGet, s.path("data", key), nil, &got)
	switch d := got.Data; {
	case err != nil:
		return "", 0, err
	case status != 200 && status != 404:
		return "", 0, s.refused(status)
	case d.Data == nil: // deleted, or never there
		return "", d.Metadata.Version, nil
	default:
		return d.Data.Value, d.Metadata.Version, nil
	}
}

func (s *vault) write(ctx context.Context, key, text string, version uint64) (bool, error) {
	body := map[string]any{"data": map[string]string{"value": text}}
	if version != anyVersion {
		body["options"] = map[string]uint64{"cas": version}
	}
	status, err := s.authorized(ctx, http.MethodPost, s.path("data", key), body, nil)
	switch {
	case err != nil:
		return false, err
	case status == 400 && version != anyVersion: // another was quicker
		return false, nil
	case status != 200 && status != 204:
		return false, s.refused(status)
	}
	return true, nil
}

func (s *vault) erase(ctx context.Context, key string) error {
	status, err := s.authorized(ctx, http.MethodDelete, s.path("metadata", key), nil, nil)
	if err == nil && status != 204 && status != 200 && status != 404 {
		err = s.refused(status)
	}
	return err
}
